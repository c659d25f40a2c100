"""docs/families.md makes a checkpoint of BEiT-3's released files: its lines run on small ones of the same names."""

from __future__ import annotations

import json
from contextlib import chdir
from pathlib import Path

import torch

from job.defaults import has_tokenizer
from supernet.data.tokens import tokenizer
from supernet.weights import pretrained_supernet
from tests.docs.blocks import BLOCKS, RELEASED
from tests.supernet.beit3 import ARGUMENTS, LENGTH, PAD, model, pairs, tensors
from tests.supernet.towers import logits_of


def sentences(folder: Path) -> Path:
    """A small tokenizer as `sentencepiece` trains it."""
    from sentencepiece import SentencePieceTrainer

    words = ["a photo of a red circle", "a big cat on the grass", "blue squares", "the dog is small"]
    (folder / "words.txt").write_text("\n".join(words * 20))
    SentencePieceTrainer.train(
        input=str(folder / "words.txt"), model_prefix=str(folder / "made"), vocab_size=28, minloglevel=2
    )
    return (folder / "made.model").rename(folder / "beit3.spm")


def test_the_lines_of_the_page_make_a_checkpoint_with_its_tokenizer(tmp_path: Path) -> None:
    from sentencepiece import SentencePieceProcessor

    (block,) = (one for one in BLOCKS if one.elsewhere is not None and one.elsewhere.reason == RELEASED)
    torch.save({"model": tensors()}, tmp_path / "beit3_base_patch16_384_coco_retrieval.pth")
    pieces = SentencePieceProcessor(model_file=str(sentences(tmp_path)))
    with chdir(tmp_path):
        exec(compile(block.text, str(block), "exec"), {})
    said = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**said, "model_args": ARGUMENTS}))
    supernet, loaded = pretrained_supernet(tmp_path)
    assert loaded.fresh == ()
    with torch.no_grad():
        found = logits_of(supernet.eval()(pairs(), supernet.space.largest()))
        torch.testing.assert_close(found, model()(**pairs()), atol=1e-5, rtol=1e-5)
    # XLM-R's rule: <s> is 0 and </s> is 2, a piece has the number behind its own, and what does not fit is cut.
    assert has_tokenizer(str(tmp_path))
    reader = tokenizer(str(tmp_path))
    assert (reader.padding, reader.ends) == (PAD, 2)
    for text in ("a big red dog", "a photo of a big cat on the grass"):
        ids, _ = reader.texts([text], LENGTH)
        expected = [0, *[number + 1 for number in pieces.encode(text)][: LENGTH - 2], 2]
        assert ids[0].tolist() == expected + [PAD] * (LENGTH - len(expected))
