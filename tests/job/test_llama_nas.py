"""The recipe `llama-nas`: what a checkpoint changes, and what it refuses."""

import json

import pytest
from pydantic import ValidationError

from job.spec import JobSpec
from tests.job.test_pretrained_spec import CONFIG, TENSORS
from tests.search_space.test_checkpoint import safetensors

TEXT = {"source": "text", "path": "/data/plays.txt"}
TASK = {"name": "quiz", "path": "/data/quiz.jsonl"}


def job(**parts) -> JobSpec:
    return JobSpec.model_validate({"recipe": "llama_nas", "data": TEXT, **parts})


def refusal(**parts) -> str:
    with pytest.raises(ValidationError) as caught:
        job(**parts)
    return str(caught.value)


@pytest.fixture
def checkpoint(tmp_path) -> str:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    safetensors(folder / "model.safetensors", TENSORS)
    return str(folder)


def test_a_checkpoint_is_fine_tuned_gently_in_the_order_of_importance(checkpoint):
    own, theirs = job(), job(supernet={"pretrained": checkpoint})
    assert own.supernet.preset == "tiny"
    assert own.supernet.importance is None
    assert theirs.supernet.preset is None
    assert theirs.supernet.importance == "activation"
    assert theirs.training.learning_rate == pytest.approx(1e-5)
    assert own.training.method == theirs.training.method == "alternating"
    assert own.search.evaluations == 250


def test_what_is_written_wins_over_what_a_checkpoint_changes(checkpoint):
    spec = job(supernet={"pretrained": checkpoint, "importance": None}, training={"learning_rate": 0.5})
    assert spec.supernet.importance is None
    assert spec.training.learning_rate == 0.5


def test_the_papers_name_is_the_recipes():
    assert job().recipe == JobSpec.model_validate({"recipe": "llama-nas", "data": TEXT}).recipe == "llama_nas"


def test_a_checkpoints_own_tokenizer_is_used_unless_the_job_says_otherwise(checkpoint, tmp_path):
    assert job(supernet={"pretrained": checkpoint}).data.tokenizer is None
    (tmp_path / "checkpoint" / "tokenizer.json").write_text("{}")
    assert job(supernet={"pretrained": checkpoint}).data.tokenizer == checkpoint
    given = {**TEXT, "tokenizer": None}
    assert (
        JobSpec.model_validate(
            {"recipe": "llama_nas", "data": given, "supernet": {"pretrained": checkpoint}}
        ).data.tokenizer
        is None
    )
    images = {"source": "digits"}
    assert not hasattr(JobSpec.model_validate({"data": images}).data, "tokenizer")


def test_no_training_needs_weights_that_are_trained(checkpoint):
    assert job(supernet={"pretrained": checkpoint}, training={"epochs": 0}).training.epochs == 0
    assert "Name a checkpoint" in refusal(training={"epochs": 0})


def test_tasks_and_their_metrics_belong_together():
    objectives = [{"metric": "task_accuracy"}, {"metric": "size_bytes"}]
    assert job(objectives=objectives, scoring={"tasks": [TASK]}).scoring.tasks[0].delimiter == " "
    assert "name a file of them in scoring.tasks" in refusal(objectives=objectives)
    limit = [{"metric": "task_accuracy_norm", "limit": 0.5}]
    assert "'task_accuracy_norm' needs questions" in refusal(constraints=limit)
    assert "'quiz' is listed twice" in refusal(scoring={"tasks": [TASK, TASK]})
    assert "it is a share from 0 to 1" in refusal(
        objectives=[{"metric": "task_accuracy", "limit": 55}], scoring={"tasks": [TASK]}
    )


def test_task_files_of_the_harness_have_a_delimiter_of_their_own():
    files = [{"name": "arc", "path": "arc.yaml"}, {"name": "piqa", "path": "/tasks/piqa.YML"}, TASK]
    assert [task.of_harness for task in job(scoring={"tasks": files}).scoring.tasks] == [True, True, False]
    again = job(scoring={"tasks": files}).model_dump(mode="json")
    assert JobSpec.model_validate(again).scoring == job(scoring={"tasks": files}).scoring
    message = refusal(scoring={"tasks": [{**files[0], "delimiter": "\n"}]})
    assert "Task 'arc' has delimiter '\\n', which is for JSON lines; arc.yaml says its own" in message


def test_tasks_are_refused_where_networks_see_images():
    with pytest.raises(ValidationError, match="are asked of language models, but data source 'digits' gives image"):
        JobSpec.model_validate({"scoring": {"tasks": [TASK]}})


def test_an_objective_twice_and_conflicting_limits_are_refused():
    twice = [{"metric": "perplexity"}, {"metric": "perplexity", "limit": 9}]
    assert "'perplexity' is listed twice" in refusal(objectives=twice)
    limits = {
        "objectives": [{"metric": "perplexity", "limit": 9}],
        "constraints": [{"metric": "perplexity", "limit": 8}],
    }
    assert "has a limit twice" in refusal(**limits)
