"""Networks of a job answer task files as the same checkpoint does in lm-evaluation-harness itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from job.spec import JobSpec
from pipeline import exams as exams_module
from pipeline.exams import exams_of
from pipeline.materials import prepare_data
from pipeline.workshop import JobFailed, make_evaluator
from supernet.data import Dataset, load_dataset
from supernet.data.tokens import Pretrained
from supernet.network import Supernet
from supernet.scores.tasks import MultipleChoice
from tests.pipeline.bench import train_supernet
from tests.pipeline.llama_bench import CPU, evaluator_of, llama_spec, text_file
from tests.pipeline.test_llama_job import job, workshop
from tests.supernet.checkpoints import TEXT, save
from tests.supernet.task_files import WORDS, adapted, documents, write_lines, write_task

# Some few-shot contexts are longer: both lose their beginning.
POSITIONS = 120
TASKS = ("plain", "shots", "several", "arc", "piqa", "hellaswag", "mmlu", "winogrande", "boolq")


@dataclass
class Bench:
    """A checkpoint in a job, and what the harness says of it."""

    folder: Path
    spec: JobSpec
    supernet: Supernet
    data: Dataset
    files: dict[str, Path]
    theirs: dict[str, Any]


def word_pieces(folder: Path) -> PreTrainedTokenizerFast:
    """A tokenizer of bytes and pairs of them that puts <s> before every text."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    made.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    made.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")
    tokenizer.save_pretrained(folder)
    return tokenizer


def task_files(folder: Path) -> list[Path]:
    """Without examples, with three, with several right answers each, and those of the harness."""
    shots = write_lines(folder / "examples.jsonl", documents(7, 12))
    asked = write_lines(folder / "asked.jsonl", documents(8))
    with_shots = {"dataset_kwargs": {"data_files": {"test": asked, "train": shots}}, "fewshot_split": "train"}
    both = [{**row, "answer": [row["answer"], 0]} for row in documents(9)]
    return [
        write_task(folder, "plain"),
        write_task(folder, "shots", **with_shots, num_fewshot=3, description="Answer about {{question[0]}}.\n\n"),
        write_task(folder, "several", rows=both, target_delimiter=""),
        *adapted(folder),
    ]


def results(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, files: list[Path]) -> dict[str, Any]:
    """What `lm_eval.simple_evaluate` makes of the files, with everything as it is by default."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    return lm_eval.simple_evaluate(
        model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=8, device="cpu"),
        tasks=[str(path) for path in files],
        task_manager=TaskManager(include_defaults=False),
        bootstrap_iters=0,
        log_samples=True,
    )


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("harness")
    checkpoint, tasks_dir = folder / "checkpoint", folder / "tasks"
    tasks_dir.mkdir()
    tokenizer = word_pieces(checkpoint)
    config = LlamaConfig(**{**TEXT, "vocab_size": len(tokenizer), "max_position_embeddings": POSITIONS})
    model = save(LlamaForCausalLM, config, checkpoint)
    files = task_files(tasks_dir)
    theirs = results(model, tokenizer, files)
    spec = job(folder, str(checkpoint))
    shop = workshop(folder, spec)
    data = prepare_data(spec, shop.space, CPU)
    named = dict(zip(TASKS, files, strict=True))
    return Bench(tasks_dir, spec, train_supernet(shop, data), data, named, theirs)


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TASKS)
def test_accuracies_and_likelihoods_are_those_of_the_harness(
    bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exams_module, "halves", lambda _name, questions: (questions, questions))
    path = bench.files[name]
    scoring = {"tasks": [{"name": name, "path": str(path)}]}
    spec = JobSpec.model_validate({**bench.spec.model_dump(mode="json"), "scoring": scoring})
    exams = exams_of(spec, spec.supernet.space(), bench.data, bench.folder)
    evaluator = make_evaluator(spec, bench.supernet, bench.data, exams)
    largest = bench.supernet.space.largest()
    (scored,) = evaluator.evaluate([largest])
    theirs = bench.theirs["results"][path.stem]
    assert scored.metrics["task_accuracy"] == theirs["acc,none"]
    for ours, metric in (("task_accuracy_norm", "acc_norm"), ("task_accuracy_bytes", "acc_bytes")):
        assert f"{metric},none" not in theirs or scored.metrics[ours] == theirs[f"{metric},none"]

    exam = exams[1]
    assert isinstance(exam, MultipleChoice)
    tally, network = exam.tally(), evaluator.network(largest)
    with torch.no_grad():
        for batch in exam.batches(CPU):
            tally.add(network(batch.x), batch)
    samples = sorted(bench.theirs["samples"][path.stem], key=lambda sample: sample["doc_id"])
    assert len(exam.tasks[0]) == len(samples)
    expected = [float(answer[0]) for sample in samples for answer in sample["filtered_resps"]]
    np.testing.assert_allclose(tally.of_choices(), expected, rtol=0, atol=1e-4)


def test_what_is_compared_could_differ(bench: Bench) -> None:
    accuracies = {name: bench.theirs["results"][path.stem]["acc,none"] for name, path in bench.files.items()}
    assert all(0.1 < accuracy < 0.9 for accuracy in accuracies.values()), accuracies
    assert len(set(accuracies.values())) >= 5
    normed = [bench.theirs["results"][bench.files[name].stem] for name in ("plain", "shots", "arc", "hellaswag")]
    assert any(result["acc,none"] != result["acc_norm,none"] for result in normed)
    reader = Pretrained(str(bench.spec.supernet.pretrained))
    assert reader.bos == (0,)
    asked = [sample["arguments"][0] for name in ("plain", "shots") for sample in bench.theirs["samples"][name]]
    lengths = [len(reader.stream(context + continuation)) for context, continuation in asked]
    assert min(lengths) < POSITIONS / 2
    assert max(lengths) > POSITIONS


def test_a_job_with_a_task_file_scores_it(tmp_path: Path) -> None:
    write_task(tmp_path)
    tasks = {"tasks": [{"name": "quiz", "path": "quiz.yaml", "limit": 20}]}
    wanted = [{"metric": "task_accuracy"}, {"metric": "task_accuracy_norm"}, {"metric": "params"}]
    spec = llama_spec(text_file(tmp_path), scoring=tasks, objectives=wanted)
    evaluator = evaluator_of(spec, tasks_dir=tmp_path)
    space = evaluator.supernet.space
    for scored in evaluator.evaluate([space.largest(), space.smallest()]):
        assert scored.metrics["task_accuracy"] * 10 == pytest.approx(round(scored.metrics["task_accuracy"] * 10))
        assert scored.source_of("task_accuracy_norm") == "measured"


def test_task_files_are_read_from_the_folder_of_the_installation_alone(tmp_path: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    other.mkdir()
    outside = write_task(other)
    (own / "link.yaml").symlink_to(outside)
    for path, folder, message in (
        (outside, None, r"quiz\.yaml is a task file .* Start it with WINNOW_TASKS_DIR=FOLDER"),
        (outside, own, r"quiz\.yaml is a task file .* reads such files from .*own alone \(WINNOW_TASKS_DIR\)"),
        ("../other/quiz.yaml", own, r"reads such files from .*own alone"),
        ("link.yaml", own, r"reads such files from .*own alone"),
        ("none.yaml", own, r"There is no task file .*own/none\.yaml"),
    ):
        spec = llama_spec(text_file(tmp_path), scoring={"tasks": [{"name": "quiz", "path": str(path)}]})
        data = load_dataset("text", 0, spec.data)
        with pytest.raises(JobFailed, match=message):
            exams_of(spec, spec.supernet.space(), data, folder)
