"""A BERT checkpoint, made smaller for sentences of your own, and opened by transformers. A few minutes.

Run it beside `winnow up`:

    python examples/bert.py ./my-bert

The argument is a folder of Hugging Face: config.json, model.safetensors, tokenizer.json. Where it is missing, a small
one without knowledge is made, so that the way can be tried without a download. Sentences of your own go into a folder
`my-sentences`: train.tsv and test.tsv, a text and a label in each line.
"""

from __future__ import annotations

import itertools
import random
import sys
from pathlib import Path

import winnow

LENGTH = 16  # tokens


def make_sentences(folder: Path) -> None:
    """Write 1,200 judgements as tab-separated text: words that praise or blame, half of them negated."""
    things = ("the film", "the book", "this song", "our dinner", "her speech", "the garden", "that game", "the trip")
    good, bad = ("good", "lovely", "bright", "clever", "warm"), ("bad", "dull", "poor", "silly", "cold")
    hedges = ("", "very ", "quite ", "really ", "rather ")
    verbs = ("is", "was", "seems", "looked", "felt", "remains")
    every = [
        (f"{thing} {verb} {'not ' if negated else ''}{hedge}{word}", int((word in good) != negated))
        for thing, verb, hedge, word, negated in itertools.product(things, verbs, hedges, good + bad, (False, True))
    ]
    random.Random(0).shuffle(every)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.tsv").write_text("".join(f"{text}\t{label}\n" for text, label in every[:1000]))
    (folder / "test.tsv").write_text("".join(f"{text}\t{label}\n" for text, label in every[1000:1200]))


def make_bert(folder: Path, texts: Path) -> None:
    """Save a small BERT with fresh weights, and a tokenizer of these texts, as transformers itself does."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train(
        [str(texts / "train.tsv")],
        trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False),
    )
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 256}
    config = BertConfig(**shape, vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=64, num_labels=2)
    BertForSequenceClassification(config).save_pretrained(folder)
    BertTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)


def job_of(checkpoint: Path, texts: Path, epochs: int, learning_rate: float) -> dict:
    """Fine-tune the checkpoint once, so that its sub-networks work, and search them."""
    return {
        "name": "example: BERT",
        "recipe": "bignas",
        "supernet": {
            "family": "bert",
            "pretrained": str(checkpoint),
            "classes": 2,
            "sequence_length": LENGTH,
            "importance": "weight",
        },
        "data": {"source": "labelled_text", "path": str(texts), "length": LENGTH, "validation_share": 0.2},
        "training": {
            "epochs": epochs,
            "batch_size": 32,
            "optimizer": "adamw",
            "learning_rate": learning_rate,
            "schedule": "cosine",
            "options": {"num_random": 1, "label_smoothing": 0.0},
            "seed": 0,
        },
        "objectives": [{"metric": "accuracy"}, {"metric": "params"}],
        "search": {"evaluations": 60, "seed": 0},
        "hardware": {"seconds": 0.2},  # of measuring each finalist
    }


def main(checkpoint: Path, texts: Path) -> None:
    """From a folder to a smaller folder, both of transformers."""
    if not texts.exists():
        make_sentences(texts)
    # Weights that know something learn gently.
    epochs, learning_rate = 3, 1e-4
    if not checkpoint.exists():
        make_bert(checkpoint, texts)
        epochs, learning_rate = 8, 1e-3
    with winnow.Client() as client:
        front = client.submit(job_of(checkpoint, texts, epochs, learning_rate)).wait().front
        whole = front["reference"]["metrics"]
        print(f"whole: accuracy {whole['accuracy']:.3f}, {whole['params']:,.0f} parameters")
        for network in front.networks:
            print(
                f"{network.id}: accuracy {network.metrics['accuracy']:.3f}, {network.metrics['params']:,.0f} parameters"
            )
        # The smallest that keeps 95 % of the whole network's accuracy.
        kept = [one for one in front.networks if one.metrics["accuracy"] >= 0.95 * whole["accuracy"]]
        chosen = min(kept, key=lambda one: one.metrics["params"])
        export = chosen.export("huggingface")

    from transformers import AutoTokenizer

    model = export.load()
    tokenizer = AutoTokenizer.from_pretrained(export.unpack() / "huggingface")
    for text in ("the garden was really lovely", "the garden was not really lovely"):
        answer = model(**tokenizer(text, return_tensors="pt")).logits.argmax().item()
        print(f"{text}: {'good' if answer == 1 else 'bad'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "my-bert").resolve(), Path("my-sentences").resolve())
