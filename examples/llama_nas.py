"""A llama from its checkpoint to a GGUF file that llama.cpp runs. A few minutes.

Run it beside `winnow up`:

    python examples/llama_nas.py ./my-llama

The argument is a folder of Hugging Face: config.json, model.safetensors, tokenizer.json. Where it is missing, a small
llama is made and trained for a minute on the language reference that Python brings, so that the way can be tried
without a download.
"""

from __future__ import annotations

import sys
from pathlib import Path

import winnow

LENGTH = 32  # tokens of a text


def make_text(file: Path) -> None:
    """Write 120,000 characters of Python's own help: English with examples."""
    from pydoc_data.topics import topics

    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n\n".join(topics.values())[:120_000])


def make_llama(folder: Path, text: Path, steps: int = 150) -> None:
    """Train a small llama, and save it with its tokenizer as transformers itself does."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train(
        [str(text)],
        trainers.BpeTrainer(vocab_size=1024, special_tokens=["</s>"], initial_alphabet=alphabet, show_progress=False),
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=tokenizer.get_vocab_size(),
        max_position_embeddings=256,
        bos_token_id=None,
        eos_token_id=0,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    ids = torch.tensor(tokenizer.encode(text.read_text()).ids)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        starts = torch.randint(len(ids) - LENGTH, (16,))
        batch = torch.stack([ids[start : start + LENGTH] for start in starts])
        optimizer.zero_grad()
        model(batch, labels=batch).loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>").save_pretrained(folder)


def job_of(checkpoint: Path, text: Path) -> dict:
    """Which layers stay, how wide each one's feed-forward network is, how many groups of key-value heads it has."""
    return {
        "name": "example: llama to GGUF",
        "recipe": "llama_nas",
        # Only networks that llama.cpp runs as they are, without zeros to fill up.
        "supernet": {"family": "llama", "pretrained": str(checkpoint), "deployable": ["gguf"]},
        "data": {"source": "text", "path": str(text), "length": LENGTH},
        "training": {"epochs": 0},  # searches the weights as they are; 1 fine-tunes them once for their sub-networks
        "objectives": [{"metric": "perplexity"}, {"metric": "size_bytes"}],
        "search": {"evaluations": 30, "options": {"population": 15}, "seed": 0},
        "hardware": {"seconds": 0.1},  # of measuring each finalist
    }


def main(checkpoint: Path, text: Path) -> None:
    """From a folder to a file."""
    if not text.exists():
        make_text(text)
    if not checkpoint.exists():
        make_llama(checkpoint, text)
    with winnow.Client() as client:
        front = client.submit(job_of(checkpoint, text)).wait().front
        whole = front["reference"]["metrics"]
        print(f"whole: perplexity {whole['perplexity']:.1f}, {whole['size_bytes']:,.0f} bytes")
        for network in front.networks:
            numbers = network.metrics
            print(f"{network.id}: perplexity {numbers['perplexity']:.1f}, {numbers['size_bytes']:,.0f} bytes")
        chosen = front.best(under={"size_bytes": 0.9 * whole["size_bytes"]})
        export = chosen.export("gguf")

    files = sorted((export.unpack() / "gguf").glob("*.gguf"))
    for file in files:
        print(f"{file.name}: {file.stat().st_size:,} bytes")

    from gguf import GGUFReader

    reader = GGUFReader(files[0])
    kind = reader.fields["general.architecture"].contents()  # "deci", where layers differ from each other
    layers = int(reader.fields[f"{kind}.block_count"].contents())
    print(f"{kind}: {layers} layers, {len(reader.tensors)} tensors")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "my-llama").resolve(), Path("my-text/topics.txt").resolve())
