"""Task files of lm-evaluation-harness: what they become, and what is refused.

That networks answer as in the harness itself: tests/pipeline/test_harness_tasks.py.
"""

import json
import os
import random
import sys

import datasets
import huggingface_hub.constants
import numpy as np
import pytest

from supernet.data import DataError
from supernet.scores.harness import read_task_file
from supernet.scores.tasks import question
from tests.supernet.task_files import documents, write_lines, write_task

ROW = {"question": "What?", "choices": ["this", "that one"], "answer": 1}
EXAMPLES = [{"question": f"What is {i}?", "choices": [f"one {i}", f"two {i}"], "answer": i % 2} for i in range(9)]


def refusal(path) -> str:
    with pytest.raises(DataError) as caught:
        read_task_file(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def with_function(folder, code: str, **parts):
    """A task file with a function of its own beside it, in place of the string 'FUNCTION'."""
    path = write_task(folder, **parts)
    (folder / "own.py").write_text(code)
    path.write_text(path.read_text().replace("FUNCTION", "!function own.function"))
    return path


def test_documents_become_questions_as_the_file_says(tmp_path):
    path = write_task(
        tmp_path, rows=[ROW, {**ROW, "answer": 0}], target_delimiter="\n", description="About {{answer}}. "
    )
    assert read_task_file(path) == [
        question("About 1. Question: What?\nAnswer:", ["this", "that one"], 1, "\n"),
        question("About 0. Question: What?\nAnswer:", ["this", "that one"], 0, "\n"),
    ]
    assert len(read_task_file(path, limit=1)) == 1


def test_few_shot_examples_are_the_same_every_time(tmp_path):
    shots = write_lines(tmp_path / "shots.jsonl", EXAMPLES)
    files = {"test": write_lines(tmp_path / "asked.jsonl", documents(3, 4)), "train": shots}
    parts = {"dataset_kwargs": {"data_files": files}, "fewshot_split": "train", "num_fewshot": 2}
    path = write_task(tmp_path, **parts, fewshot_delimiter="\n--\n")
    found = read_task_file(path)
    contexts = [each.requests[0][0] for each in found]
    for context, row in zip(contexts, documents(3, 4), strict=True):
        *examples, asked = context.split("\n--\n")
        assert asked == f"Question: {row['question']}\nAnswer:"
        rendered = {f"Question: {e['question']}\nAnswer: {e['choices'][e['answer']]}" for e in EXAMPLES}
        assert len(examples) == 2
        assert set(examples) <= rendered
    assert len({context.rsplit("\n--\n", 1)[0] for context in contexts}) > 1
    random.seed(5)
    assert read_task_file(path) == found
    assert read_task_file(path, limit=2) == found[:2]


@pytest.mark.parametrize(
    ("target", "right"),
    [(1, {1}), ("that one", {1}), ("neither", set()), (-1, set()), (7, set()), (True, {1}), (1.0, {1})],
)
def test_a_target_is_right_where_the_harness_compares_it_equal(tmp_path, target, right):
    code = f"def function(doc):\n    return doc['answer'] if doc['answer'] == 1 else {target!r}\n"
    rows = [ROW, {**ROW, "answer": 0}]  # a column has one type; the function makes the other
    found = read_task_file(with_function(tmp_path, code, rows=rows, doc_to_target="FUNCTION"))
    assert [set(each.right) for each in found] == [{1}, right]


def test_several_targets_may_be_right(tmp_path):
    rows = [{**ROW, "answer": [0, 1]}, {**ROW, "answer": [1]}, {**ROW, "answer": []}]
    assert [set(each.right) for each in read_task_file(write_task(tmp_path, rows=rows))] == [{0, 1}, {1}, set()]


def test_equal_choices_stay(tmp_path):
    (found,) = read_task_file(write_task(tmp_path, rows=[{**ROW, "choices": ["same", "same"], "answer": 1}]))
    assert found.choices == ("same", "same")
    assert found.right == {1}


def test_functions_of_the_file_filter_documents(tmp_path):
    code = "def function(docs):\n    return docs.filter(lambda doc: doc['answer'] == 0)\n"
    path = with_function(tmp_path, code, rows=documents(0), process_docs="FUNCTION")
    assert len(read_task_file(path)) == sum(row["answer"] == 0 for row in documents(0))


def test_data_lies_beside_the_file_in_a_folder_or_under_its_name(tmp_path):
    (tmp_path / "folder").mkdir()
    write_lines(tmp_path / "folder" / "test.jsonl", [ROW])
    expected = [question("Question: What?\nAnswer:", ["this", "that one"], 1)]
    for parts in (
        {"dataset_kwargs": {"data_files": {"test": "folder/test.jsonl"}}},
        {"dataset_kwargs": {"data_files": {"test": ["folder/*.jsonl"]}}},
        {"dataset_kwargs": {"data_files": {"test": "test.jsonl"}, "data_dir": "folder"}},
        {"dataset_kwargs": {"data_dir": "folder"}},
        {"dataset_path": "folder", "dataset_kwargs": None},
        {"dataset_path": str(tmp_path / "folder"), "dataset_kwargs": {"trust_remote_code": True}},
    ):
        assert read_task_file(write_task(tmp_path, rows=[], **parts)) == expected, parts


def test_changed_data_is_read_anew(tmp_path):
    path = write_task(tmp_path, rows=[ROW])
    assert len(read_task_file(path)) == 1
    assert len(read_task_file(write_task(tmp_path, rows=[ROW, {**ROW, "answer": 0}]))) == 2


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"output_type": "generate_until"}, "has output_type 'generate_until'; only 'multiple_choice' can be scored"),
        ({"output_type": None}, "has output_type 'generate_until'"),
        ({"output_type": "loglikelihood_rolling"}, "has output_type 'loglikelihood_rolling'"),
        ({"group": "all", "task": ["quiz"]}, "is a group of tasks"),
        ({"task": None}, "names no task: its key `task` is None"),
        ({"class": "Quiz"}, "is a task written in Python"),
        ({"process_results": "own"}, "scores in a way of its own"),
        ({"doc_to_image": "picture"}, r"shows more than text \(doc_to_image\)"),
        ({"filter_list": [{"name": "first", "filter": [{"function": "lowercase"}]}]}, "filters answers with lowercase"),
        ({"doc_to_choice": None}, "has no doc_to_choice"),
        ({"doc_to_text": "{{nothing}}"}, "UndefinedError: 'nothing' is undefined"),
        ({"surprise": 1}, "unexpected keyword argument 'surprise'"),
        ({"test_split": "elsewhere"}, "KeyError: 'elsewhere'"),
        ({"num_fewshot": 99}, "Document 0 .* is no question: ValueError: Sample larger than population"),
        ({"dataset_path": "allenai/ai2_arc"}, "'allenai/ai2_arc' .* is not on this worker; nothing is downloaded"),
        ({"dataset_path": None}, "has dataset_path None"),
        ({"dataset_kwargs": None}, "reads 'json' without any files"),
        ({"dataset_kwargs": {"data_files": {"test": "gone.jsonl"}}}, "reads 'gone.jsonl', but there is no"),
        (
            {"dataset_kwargs": {"data_files": "hf://datasets/x/y.jsonl"}},
            "reads 'hf://datasets/x/y.jsonl', which is not",
        ),
    ],
)
def test_a_file_that_cannot_be_scored_as_the_harness_does_is_refused(tmp_path, parts, message):
    with pytest.raises(DataError, match=message):
        read_task_file(write_task(tmp_path, **parts))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{**ROW, "answer": -1}], "No document .* has a right answer"),
        ([{**ROW, "choices": ["this", ""]}], "ot empty|index out of range"),
        ([ROW, {**ROW, "choices": ["this", ""]}], "Document 1 .* choices must be texts that are not empty"),
        ([ROW, {**ROW, "choices": []}], "Document 1 .* choices must be texts that are not empty"),
        ([{**ROW, "answer": ["that one"]}], "Document 0 .* a list of targets must hold numbers"),
    ],
)
def test_documents_that_are_no_questions_are_named(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        read_task_file(write_task(tmp_path, rows=rows))


def test_targets_are_lists_for_all_documents_or_for_none(tmp_path):
    code = "def function(doc):\n    return [1] if doc['answer'] else 0\n"
    path = with_function(tmp_path, code, rows=[ROW, {**ROW, "answer": 0}], doc_to_target="FUNCTION")
    assert "targets must be lists for all documents or for none, got 0" in refusal(path)


def test_a_file_that_is_none_is_refused(tmp_path):
    assert "There is no task file" in refusal(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("task: [")
    assert "ParserError" in refusal(tmp_path / "broken.yaml")


def test_errors_of_a_files_own_code_are_told(tmp_path):
    path = with_function(tmp_path, "def function(docs):\n    raise OSError('disk on fire')\n", process_docs="FUNCTION")
    assert "OSError: disk on fire" in refusal(path)
    assert "has no function 'function'" in refusal(with_function(tmp_path, "x = 1\n", process_docs="FUNCTION"))


def test_a_missing_package_is_named_with_the_command(tmp_path, monkeypatch):
    path = write_task(tmp_path)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    assert "install it: pip install 'winnow[lm-eval]'" in refusal(path)


def test_code_of_a_file_cannot_reach_the_hub_and_nothing_is_left_changed(tmp_path):
    code = (
        "import json, os, random, datasets, huggingface_hub.constants as hub\n"
        "def function(docs):\n"
        "    seen = [os.environ['HF_HUB_OFFLINE'], hub.HF_HUB_OFFLINE, random.random()]\n"
        f"    with open({str(tmp_path / 'seen.json')!r}, 'w') as file:\n"
        "        json.dump(seen, file)\n"
        "    os.environ['LEFT'] = 'behind'\n"
        "    return datasets.load_dataset('allenai/ai2_arc', 'ARC-Easy')['test']\n"
    )
    path = with_function(tmp_path, code, process_docs="FUNCTION")
    np.random.seed(7)
    random.seed(7)
    before = (
        dict(os.environ),
        random.getstate(),
        np.random.get_state()[1].tolist(),
        huggingface_hub.constants.HF_HUB_OFFLINE,
        datasets.config.HF_HUB_OFFLINE,
    )
    assert "allenai/ai2_arc" in refusal(path)
    assert json.loads((tmp_path / "seen.json").read_text())[:2] == ["1", True]
    assert before == (
        dict(os.environ),
        random.getstate(),
        np.random.get_state()[1].tolist(),
        huggingface_hub.constants.HF_HUB_OFFLINE,
        datasets.config.HF_HUB_OFFLINE,
    )
