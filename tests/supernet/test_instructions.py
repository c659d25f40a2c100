"""Questions with answers: the answers alone are learned and scored, and what stands before them is as written."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from search_space.plugins import load_family
from supernet.data import DataError, load_dataset
from supernet.data.dataset import IGNORED, Batch
from supernet.data.tokens import Pretrained
from supernet.evaluate import perplexity
from supernet.methods.single.method import Single
from supernet.network import Supernet
from supernet.options import TrainingOptions
from supernet.passes import Passes
from supernet.scores.labels import Divergence, Perplexity
from supernet.trainer import Trainer

CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
# Hides the answers of earlier turns, as templates of models that think do.
FORGETFUL = CHAT.replace("{{ m.content }}", "{{ m.content if loop.last or m.role == 'user' else '...' }}")


def tokenizer(folder, chat=CHAT, begins=True):
    """Bytes as tokens, with <s>, </s> and the marks of turns."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>"])
    if begins:
        start = made.token_to_id("<s>")
        made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", start)])
    whole = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")
    whole.chat_template = chat
    whole.save_pretrained(folder)
    return str(folder)


def write(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def sums(tmp_path, count=40, **more):
    rows = [{"question": f"{i}+{i}", "answer": str(2 * i), **more} for i in range(count)]
    return write(tmp_path / "sums.jsonl", rows)


def read(path, **words):
    return load_dataset("instructions", 0, {"path": path, "length": 48, "test_share": 0.2, **words})


def refusal(path, **words) -> str:
    with pytest.raises(DataError) as raised:
        read(path, **words)
    return str(raised.value)


def answer_of(split, row, decode=lambda ids: bytes(ids).decode()):
    counted = split.y[row] != IGNORED
    return decode(split.y[row][counted].tolist())


# --- pairs ------------------------------------------------------------------------------------------


def test_the_loss_is_on_the_answer_alone(tmp_path):
    data = read(sums(tmp_path), answer="answer", template="Q: {question} A: ")
    for row in range(len(data.train)):
        text = bytes(data.train.stored[row].tolist()).rstrip(b"\0").decode()
        question, answer = text.removeprefix("Q: ").split(" A: ")
        assert answer == str(2 * int(question.split("+")[0]))
        assert answer_of(data.train, row) == f"{answer}\0"
    assert "the template 'Q: {question} A: '" in data.preprocessing["template"]
    assert data.inventory.columns == {"prompt": "question", "answer": "answer"}
    assert data.metric == "perplexity"


def test_a_tokenizers_own_beginning_and_end_stand_around_a_pair(tmp_path):
    data = read(
        sums(tmp_path),
        answer="answer",
        template="{question}=",
        tokenizer=tokenizer(tmp_path / "t"),
        validation_share=0.2,
    )
    reader = Pretrained(str(tmp_path / "t"))
    decode = reader._tokenizer.decode
    row = data.train.stored[0]
    assert decode(row.tolist()).startswith("<s>")
    assert answer_of(data.train, 0, decode).endswith("</s>")
    assert "=" not in answer_of(data.train, 0, decode)


def test_the_chat_template_writes_pairs(tmp_path):
    data = read(sums(tmp_path), prompt="question", answer="answer", tokenizer=tokenizer(tmp_path / "t"))
    decode = Pretrained(str(tmp_path / "t"))._tokenizer.decode
    written = decode(data.train.stored[0].tolist())
    assert written.startswith("<|user|>")
    assert "<s>" not in written  # the template writes everything
    assert answer_of(data.train, 0, decode).endswith("</s>")
    assert "<|assistant|>" not in answer_of(data.train, 0, decode)


def test_rows_without_answers_and_answers_beyond_the_length_are_left_out_by_count(tmp_path):
    rows = [{"q": f"{i}?", "a": "yes"} for i in range(40)]
    rows[3]["a"], rows[5]["q"], rows[7]["a"] = None, None, "  "
    rows[9]["q"], rows[11]["a"] = "why " * 30, "because " * 30
    data = read(write(tmp_path / "rows.jsonl", rows), answer="a", template="{q} ")
    assert {one.why: one.count for one in data.inventory.left_out} == {
        "without an answer": 3,
        "whose answer begins beyond data.length": 1,
    }
    assert data.inventory.remarks == ("1 answers are cut at 48 tokens.",)
    assert data.inventory.used == 36


def test_a_missing_part_of_a_question_is_nothing(tmp_path):
    rows = [{"instruction": f"say {i}", "input": None if i % 2 else "loud", "output": str(i)} for i in range(40)]
    data = read(write(tmp_path / "rows.jsonl", rows), answer="output", template="{instruction} {input}>")
    texts = {bytes(row.tolist()).split(b">")[0].split()[-1] for row in data.train.stored}
    assert b"None" not in texts
    assert data.inventory.used == 40


@pytest.mark.parametrize("begins", [True, False])
def test_documents_begin_and_end_with_the_tokenizers_own_tokens(tmp_path, begins):
    path = write(tmp_path / "rows.jsonl", [{"text": f"doc {i}"} for i in range(40)])
    words = {"path": path, "length": 8, "tokenizer": tokenizer(tmp_path / "t", begins=begins)}
    data = load_dataset("huggingface", 0, words)
    written = Pretrained(words["tokenizer"])._tokenizer.decode(data.train.stored.flatten().tolist())
    first = "<s>" if begins else ""
    assert written.startswith(f"{first}doc 0</s>{first}doc 1</s>")
    assert data.preprocessing["documents"] == ("begins with <s> and ends with </s>" if begins else "ends with </s>")


# --- conversations ----------------------------------------------------------------------------------


def conversation(i, who=("user", "assistant"), fields=("role", "content")):
    words = [(who[0], f"hello {i}"), (who[1], f"hi {i}"), (who[0], "and?"), (who[1], "bye")]
    return [dict(zip(fields, turn, strict=True)) for turn in words]


@pytest.mark.parametrize(
    ("column", "who", "fields"),
    [
        ("messages", ("user", "assistant"), ("role", "content")),
        ("conversations", ("human", "gpt"), ("from", "value")),
    ],
)
def test_what_the_assistant_says_counts_in_every_turn(tmp_path, column, who, fields):
    path = write(tmp_path / "rows.jsonl", [{column: conversation(i, who, fields), "id": i} for i in range(40)])
    data = read(path, tokenizer=tokenizer(tmp_path / "t"), length=80)
    decode = Pretrained(str(tmp_path / "t"))._tokenizer.decode
    first = decode(data.train.stored[0].tolist())
    number = first.split("</s>")[0].removeprefix("<|user|>hello ")
    assert answer_of(data.train, 0, decode) == f"hi {number}</s>bye</s>"
    assert data.inventory.columns == {"messages": column}
    assert "assistant's turns alone" in data.preprocessing["template"]


def test_a_template_that_forgets_is_refused(tmp_path):
    path = write(tmp_path / "rows.jsonl", [{"messages": conversation(i)} for i in range(4)])
    said = refusal(path, tokenizer=tokenizer(tmp_path / "t", FORGETFUL))
    assert "Row 1 of the train part" in said
    assert "writes a turn otherwise once others follow" in said


def test_conversations_need_a_template_and_a_form(tmp_path):
    path = write(tmp_path / "rows.jsonl", [{"messages": conversation(i)} for i in range(4)])
    assert "has no chat template" in refusal(path)
    path = write(tmp_path / "bad.jsonl", [{"messages": [{"speaker": "a", "words": "b"}]}] * 4)
    assert "a turn has speaker, words; it needs `role` and `content`" in refusal(
        path, tokenizer=tokenizer(tmp_path / "t")
    )


# --- what is not named ------------------------------------------------------------------------------


def test_columns_are_not_guessed(tmp_path):
    path = sums(tmp_path)
    assert "which are questions and answers would be a guess: name data.prompt" in refusal(path)
    assert "has no column 'respons'" in refusal(path, answer="respons", template="{question}")
    assert "has no column 'frage'" in refusal(path, answer="answer", template="{frage}")
    silent = tokenizer(tmp_path / "silent", chat=None)
    assert "has no chat template" in refusal(path, answer="answer", prompt="question", tokenizer=silent)
    with pytest.raises(DataError, match="are for data source 'instructions'"):
        load_dataset("huggingface", 0, {"path": path})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"answer": "a"}, "needs what stands before it"),
        ({"answer": "a", "prompt": "q"}, "bytes, which have no chat template"),
        ({"messages": "m"}, "bytes, which have no chat template"),
        ({"prompt": "q"}, "need data.answer"),
        ({"messages": "m", "answer": "a", "prompt": "q"}, "leave prompt, answer and template out"),
        ({"prompt": "q", "answer": "a", "template": "{q}"}, "leave data.prompt out"),
    ],
)
def test_words_that_exclude_one_another_are_refused_without_the_data(words, said):
    with pytest.raises(ValueError, match=said):
        load_dataset("instructions", 0, {"path": "/nowhere", **words})


# --- learning and scoring ---------------------------------------------------------------------------


def partly(batch: Batch) -> Batch:
    targets = batch.targets.clone()
    targets[:, : targets.shape[1] // 2] = IGNORED
    targets[0, -3:] = IGNORED
    return Batch.of(batch.x, targets, partial=True)


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return Supernet(load_family("llama", "tiny"))


def test_a_networks_loss_and_perplexity_are_means_over_what_counts(tiny, tmp_path):
    data = read(sums(tmp_path), answer="answer", template="{question}=", length=16)
    batch = data.train.batch(slice(0, 8))
    network = tiny.extract(tiny.space.largest()) if hasattr(tiny, "extract") else None
    passes = Passes(tiny)
    loss = passes.task_loss(passes.run(batch, tiny.space.largest()), batch)
    with torch.no_grad():
        logits = tiny(batch.x, tiny.space.largest())
    counted = batch.targets != IGNORED
    expected = torch.nn.functional.cross_entropy(logits[counted], batch.targets[counted])
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    tally = Perplexity()
    for part in (slice(0, 3), slice(3, 8)):
        tally.add(logits[part], batch.part(part))
    assert tally.values()["perplexity"] == pytest.approx(math.exp(expected), rel=1e-5)
    if network is not None:
        assert perplexity(network, data.train.take(torch.arange(8))) == pytest.approx(math.exp(expected), rel=1e-5)


def test_divergence_is_a_mean_over_what_counts():
    torch.manual_seed(0)
    logits, full = torch.randn(2, 6, 5), torch.randn(2, 6, 5)
    batch = partly(Batch.of(torch.zeros(2, 6, dtype=torch.int64), torch.zeros(2, 6, dtype=torch.int64)))
    tally = Divergence()
    tally.add(logits, batch, full)
    counted = batch.targets != IGNORED
    kl = (full[counted].softmax(-1) * (full[counted].log_softmax(-1) - logits[counted].log_softmax(-1))).sum(-1).mean()
    assert tally.values()["kl_divergence"] == pytest.approx(kl.item(), rel=1e-5)


def test_students_learn_from_their_teacher_on_the_answer_alone(tiny, tmp_path):
    """What a teacher says of the question and of padding has no gradient."""
    data = read(sums(tmp_path), answer="answer", template="{question}=", length=16)
    batch = data.train.batch(slice(0, 4))
    output = Passes(tiny).run(batch, tiny.space.largest())
    assert output.hidden.shape[:2] == (int((batch.targets != IGNORED).sum()), 1)


@pytest.mark.parametrize("parts", [2, 4])
def test_micro_batches_add_up_to_the_batch_though_their_answers_are_of_other_lengths(tmp_path, parts):
    data = read(sums(tmp_path, 60), answer="answer", template="{question}=", length=16)
    gradients = []
    for count in (1, parts):
        torch.manual_seed(0)
        supernet = Supernet(load_family("llama", "tiny"))
        options = TrainingOptions(
            epochs=1,
            batch_size=16,
            optimizer="sgd",
            learning_rate=0.1,
            lr_decay=1,
            lr_decay_epochs=1,
            lr_floor=0,
            weight_decay=0,
            momentum=0,
            clip_norm=0,
            micro_batches=count,
        )
        trainer = Trainer(supernet, Single(), data.train, options, 0)
        trainer._gradients()
        gradients.append([w.grad.clone() for w in supernet.parameters() if w.grad is not None])
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    assert np.isfinite([float(g.norm()) for g in gradients[0]]).all()
