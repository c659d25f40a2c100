"""Stages of a `llama_nas` job from a checkpoint: tokens that do not fit, no training, tasks as objectives."""

import json

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from job.spec import JobSpec
from pipeline.artifacts import ArtifactStore
from pipeline.exams import exams_of, held_out_exams_of
from pipeline.materials import prepare_data
from pipeline.workshop import JobFailed, Workshop, make_evaluator
from predictors.cost import weight_bytes
from quantization.after_search import InSchemes
from service.settings import Settings
from supernet.data import load_dataset
from supernet.evaluate import perplexity, scores
from tests.pipeline.bench import MemoryReporter, train_supernet
from tests.pipeline.llama_bench import CPU, evaluator_of, llama_spec, text_file
from tests.supernet.checkpoints import TEXT, save


def checkpoint(folder, vocab: int):
    model = save(LlamaForCausalLM, LlamaConfig(**{**TEXT, "vocab_size": vocab}), folder / f"llama{vocab}")
    return str(folder / f"llama{vocab}"), model


def job(folder, pretrained: str, **parts) -> JobSpec:
    data = {"source": "text", "path": str(text_file(folder)), "length": 16, "validation_share": 0.05}
    given = {"recipe": "llama_nas", "supernet": {"family": "llama", "pretrained": pretrained}, "data": data}
    return JobSpec.model_validate({**given, "training": {"epochs": 0, "batch_size": 8}, **parts})


def workshop(folder, spec: JobSpec) -> Workshop:
    settings = Settings(data_dir=folder, database_url=None, redis_url=None)
    store = ArtifactStore(folder / "artifacts")
    return Workshop("job", spec, spec.supernet.space(), MemoryReporter(), store, settings, CPU)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("vocab", "message"), [(1000, "they do not belong together"), (101, "use the checkpoint's own")]
)
def test_bytes_are_no_tokens_of_another_vocabulary(tmp_path, vocab, message):
    folder, _ = checkpoint(tmp_path, vocab)
    spec = job(tmp_path, folder)
    with pytest.raises(JobFailed, match=message):
        prepare_data(spec, spec.supernet.space(), CPU)


def test_without_training_the_largest_network_is_the_checkpoint(tmp_path):
    folder, model = checkpoint(tmp_path, 256)
    spec = job(tmp_path, folder)
    shop = workshop(tmp_path, spec)
    data = prepare_data(spec, shop.space, CPU)
    supernet = train_supernet(shop, data)
    (scored,) = make_evaluator(spec, supernet, data).evaluate([shop.space.largest()])

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids):
            return self.model(ids).logits

    assert scored.metrics["perplexity"] == pytest.approx(perplexity(Whole(), data.validation), rel=1e-4)
    row = shop.reporter.supernets["job"]  # type: ignore[attr-defined]
    assert (row.step, row.metric) == (0, "perplexity")
    again = train_supernet(shop, data)  # stored by now
    assert all(torch.equal(a, b) for a, b in zip(supernet.parameters(), again.parameters(), strict=True))


def test_tasks_and_divergence_are_scored_where_they_are_asked(tmp_path):
    questions = [{"query": query, "choices": ["brown", "zzz"], "gold": 0} for query in ("the quick", "the slow")]
    (tmp_path / "quiz.jsonl").write_text("\n".join(json.dumps(q) for q in questions))
    tasks = {"tasks": [{"name": "quiz", "path": str(tmp_path / "quiz.jsonl")}]}
    wanted = [{"metric": "task_accuracy"}, {"metric": "kl_divergence"}, {"metric": "params"}]
    spec = llama_spec(text_file(tmp_path), scoring=tasks, objectives=wanted)
    evaluator = evaluator_of(spec)
    largest, smallest = evaluator.evaluate([evaluator.supernet.space.largest(), evaluator.supernet.space.smallest()])
    assert largest.metrics["task_accuracy"] in (0.0, 1.0)
    assert largest.metrics["kl_divergence"] < 1e-6 < smallest.metrics["kl_divergence"]
    assert largest.source_of("kl_divergence") == "measured"
    plain = llama_spec(text_file(tmp_path))
    assert "kl_divergence" not in evaluator_of(plain).evaluate([plain.supernet.space().smallest()])[0].metrics


def test_a_task_file_that_is_not_there_fails_the_job_with_its_name(tmp_path):
    tasks = {"tasks": [{"name": "quiz", "path": str(tmp_path / "none.jsonl")}]}
    spec = llama_spec(text_file(tmp_path), scoring=tasks)
    data = load_dataset("text", 0, spec.data)
    with pytest.raises(JobFailed, match=r"There is no task file .*none\.jsonl"):
        exams_of(spec, spec.supernet.space(), data, None)


def test_a_front_in_fewer_bits_is_smaller_and_a_little_worse(tmp_path):
    spec = llama_spec(text_file(tmp_path), scoring={"quantize_front": ["int8_weight", "int4_weight"]})
    evaluator = evaluator_of(spec, scale=2.0)
    space = spec.supernet.space()
    network = space.largest()
    metrics, sources = InSchemes(evaluator, spec.scoring.quantize_front, 64, 0).scores(network)
    full = weight_bytes(space, network)
    assert metrics["size_bytes_int4_weight"] < metrics["size_bytes_int8_weight"] < full
    exact = perplexity(evaluator.network(network), evaluator.data.test)
    assert metrics["test_perplexity_int8_weight"] == pytest.approx(exact, rel=0.02)
    errors = [abs(metrics[f"test_perplexity_{name}"] - exact) for name in ("int8_weight", "int4_weight")]
    assert 0 < errors[0] < errors[1]
    assert sources["test_perplexity_int4_weight"] == "measured"
    assert sources["size_bytes_int4_weight"] == "analytic"
    plain = llama_spec(text_file(tmp_path)).scoring.quantize_front
    assert InSchemes(evaluator, plain, 64, 0).scores(network) == ({}, {})


def test_half_of_each_task_is_asked_of_finalists_alone(tmp_path):
    questions = [{"query": f"the {number}", "choices": ["brown", "zzz"], "gold": 0} for number in range(9)]
    (tmp_path / "quiz.jsonl").write_text("\n".join(json.dumps(q) for q in questions))
    tasks = {"tasks": [{"name": "quiz", "path": str(tmp_path / "quiz.jsonl")}]}
    spec = llama_spec(text_file(tmp_path), scoring=tasks, objectives=[{"metric": "task_accuracy"}, {"metric": "macs"}])
    data, space = load_dataset("text", 0, spec.data), spec.supernet.space()
    (_, asked), (held_out,) = exams_of(spec, space, data, None), held_out_exams_of(spec, space, data, None)
    halves = [{question.requests for question in exam.tasks[0]} for exam in (asked, held_out)]
    assert [len(half) for half in halves] == [5, 4]
    assert not halves[0] & halves[1]
    scored = scores(evaluator_of(spec).network(space.smallest()), held_out)
    assert set(scored.values) == {f"test_task_accuracy{kind}" for kind in ("", "_norm", "_bytes")}
    low, high = scored.intervals["test_task_accuracy"]
    assert 0 <= low <= scored.values["test_task_accuracy"] <= high <= 1
    (tmp_path / "quiz.jsonl").write_text(json.dumps(questions[0]))
    with pytest.raises(JobFailed, match="'quiz' has one question"):
        exams_of(spec, space, data, None)
