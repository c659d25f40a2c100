"""What an export costs where it runs: an extracted network, decoding in transformers, and memory while it is written.

1. A network that was cut out of a supernet against the same blocks built by hand with the same numbers: one forward
   pass, in turns. Goal: at most 1.02 of the time.
2. Greedy decoding with a cache: the folder that `huggingface` writes against transformers' own model of its
   config.json, in turns. Goal: at least 0.95 of the tokens a second. Beside it the largest network of the space.
3. Memory while a llama of 1.3 billion parameters is read from a checkpoint in shards and written, above what the
   process had with its imports: the most that was resident, pages of files included. Goal: at most 1.5 times the file.

    python -m benchmarks.export_speed [--json] [--rounds 15] [--only extracted decode memory] [--embed 2048 --layers 24]
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.contents import BundleContents
from export.formats.huggingface import format as huggingface
from export.formats.huggingface.format import write_weights
from export.measure import describe_machine
from export.streamed import Made
from plugins.kinds import FORMATS
from search_space.adjustments import Adjustments
from search_space.plugins import FAMILIES, load_family
from supernet.network import Supernet, build_network, extract
from supernet.weights import load_pretrained

PARTS = ("extracted", "decode", "memory")
ENDS = ("*.safetensors", "*.gguf")
# Space -> shape of a batch; None: tokens.
EXTRACTED = {"mobilenet/cifar": (8, 3, 32, 32), "vit/cifar": (8, 3, 32, 32), "bert/tiny": None, "llama/tiny": None}
LENGTH, NEW_TOKENS = 64, 48
SMALL: dict[str, tuple[int, ...]] = {"layer*_ffn": (176, 352), "layer*_kv_heads": (2, 4)}


def in_turns(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int, repeat: int = 1) -> dict[str, Any]:
    """Seconds of both, the order swapped each round; the median of the ratios and its 95 % interval by ranks."""
    for run in (ours, theirs):
        run()
    pairs = []
    for number in range(rounds):
        order = [("ours", ours), ("theirs", theirs)]
        spent = {}
        for name, run in order if number % 2 else reversed(order):
            begin = time.process_time()
            for _ in range(repeat):
                run()
            spent[name] = (time.process_time() - begin) / repeat
        pairs.append((spent["ours"], spent["theirs"]))
    ratios = sorted(mine / other for mine, other in pairs)
    half = 0.98 * math.sqrt(rounds)
    low, high = max(0, math.floor(rounds / 2 - half)), min(rounds - 1, math.ceil(rounds / 2 + half))
    return {
        "ours_ms": 1e3 * statistics.median(mine for mine, _ in pairs),
        "theirs_ms": 1e3 * statistics.median(other for _, other in pairs),
        "ratio": statistics.median(ratios),
        "interval_95": [ratios[low], ratios[high]],
        "rounds": rounds,
    }


def extracted(rounds: int) -> list[dict[str, Any]]:
    """Part 1."""
    found = []
    for name, shape in EXTRACTED.items():
        family, preset = name.split("/")
        space = load_family(family, preset)
        torch.manual_seed(0)
        architecture = space.sample(np.random.default_rng(0))
        ours = extract(Supernet(space), architecture).eval()
        theirs = build_network(space.layers(architecture)).eval()
        theirs.load_state_dict(ours.state_dict())
        x = torch.randn(shape) if shape else torch.randint(1, 250, (4, LENGTH))
        if shape and x.shape[1] != space.takes.channels:  # type: ignore[union-attr]
            x = x[:, : space.takes.channels]  # type: ignore[union-attr]
        with torch.no_grad():
            assert torch.equal(ours(x), theirs(x))
            found.append({"space": name, **in_turns(lambda: ours(x), lambda: theirs(x), rounds, repeat=5)})  # noqa: B023
    return found


def contents_of(choices: dict[str, tuple[int, ...]], which: str) -> BundleContents:
    """A llama of `llama/tiny`, largest or random."""
    space = load_family("llama", "tiny", Adjustments(choices))
    torch.manual_seed(0)
    architecture = space.largest() if which == "largest" else space.sample(np.random.default_rng(1))
    network = extract(Supernet(space), architecture).eval()
    return BundleContents(network, space.layers(architecture), {"space": space.name}, "")


def decode(rounds: int) -> list[dict[str, Any]]:
    """Part 2."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    ids = torch.randint(1, 250, (1, LENGTH))

    def generates(model: Any) -> Callable[[], Any]:
        model.generation_config = transformers.GenerationConfig(do_sample=False, pad_token_id=0)
        count = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS}
        return lambda: model.generate(ids, attention_mask=torch.ones_like(ids), **count)

    found = []
    largest = transformers.LlamaForCausalLM(transformers.LlamaConfig(**_sizes({}, "largest"))).eval()
    alike: dict[str, tuple[int, ...]] = {key: many[:1] for key, many in SMALL.items()}
    for name, choices, which in (("layers alike", alike, "largest"), ("layers that differ", SMALL, "random")):
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            told = huggingface.write_contents(contents_of(choices, which), ids, Path(folder))
            ours = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
            theirs = transformers.LlamaForCausalLM(transformers.AutoConfig.from_pretrained(folder)).eval()
            row = {"network": name, "padding_share": told["padding_bytes"] / told["bytes"]}
            row |= in_turns(generates(ours), generates(theirs), rounds)
            row["speed"] = 1 / row["ratio"]
            beside = in_turns(generates(ours), generates(largest), max(3, rounds // 3))
            found.append({**row, "of_the_largest": beside["ratio"]})
    return found


def _sizes(choices: dict[str, tuple[int, ...]], which: str) -> dict[str, Any]:
    contents = contents_of(choices, which)
    config: dict[str, Any] = huggingface.described(contents)[0]
    return {key: value for key, value in config.items() if key not in ("architectures", "dtype")}


def memory(embed: int, layers: int, formats: Sequence[str]) -> list[dict[str, Any]]:
    """Part 3: each format in a process of its own, from one random checkpoint on disk, in 16 bits and in shards."""
    with tempfile.TemporaryDirectory() as folder:
        config = _checkpoint(embed, layers, Path(folder))
        rows = []
        for name in formats:
            given = [sys.executable, "-m", "benchmarks.export_speed", "--child", folder, "--formats", name]
            done = subprocess.run(given, stdout=subprocess.PIPE, check=True, text=True)
            rows.append({"format": name, "config": config, **json.loads(done.stdout)})
    return rows


def _checkpoint(embed: int, layers: int, folder: Path) -> dict[str, Any]:
    """A llama of random numbers, as large checkpoints come: bfloat16, in files of half a gigabyte."""
    config: dict[str, Any] = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": 32000,
        "hidden_size": embed,
        "intermediate_size": embed * 43 // 16 // 256 * 256 or 256,
        "num_hidden_layers": layers,
        "num_attention_heads": embed // 64,
        "num_key_value_heads": embed // 64,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config))
    noise = torch.empty(2**24, dtype=torch.bfloat16).normal_(0, 0.02, generator=torch.Generator().manual_seed(0))
    places = FAMILIES.load("llama").layout(config).places
    made = {
        name: Made(place.shape, torch.bfloat16, partial(_drawn, noise, place.shape, number))
        for number, (name, place) in enumerate(places.items())
    }
    write_weights(made, folder, 2**29)
    return config


def _drawn(noise: torch.Tensor, shape: tuple[int, ...], number: int) -> torch.Tensor:
    count = math.prod(shape)
    start = 4099 * number % 2**20
    return noise[start:].repeat(-(-count // (len(noise) - start)))[:count].reshape(shape)


def child(folder: Path, format_name: str) -> None:
    """Write one llama and say how much memory that took."""
    import transformers  # what writing imports, so that it is not counted
    from transformers.models.llama import modeling_llama  # noqa: F401

    assert transformers.__version__
    writer = FORMATS.load(format_name)
    if format_name == "gguf":
        import gguf

        assert gguf.GGUFWriter
    config = json.loads((folder / "config.json").read_text())
    space = load_family("llama", None, None, config)
    before = _kilobytes("VmRSS")
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("meta"):
        supernet = Supernet(space)
    # Fresh weights would be drawn for nothing.
    supernet = supernet.to_empty(device="cpu").eval()
    load_pretrained(supernet, folder)
    loaded = _kilobytes("VmHWM") - before
    architecture = space.largest()
    network = extract(supernet, architecture, shares=True)
    own = _kilobytes("VmRSS") - before
    facts = {"space": space.name, "checkpoint": config, "dtype": "bfloat16"}
    contents = BundleContents(network, space.layers(architecture), facts, "")
    with tempfile.TemporaryDirectory() as written:
        begin = time.process_time()
        writer.write_contents(contents, torch.zeros(1, 8, dtype=torch.int64), Path(written))
        seconds = time.process_time() - begin
        files = {file.name: file.stat().st_size for end in ENDS for file in sorted(Path(written).glob(end))}
    peak = _kilobytes("VmHWM") - before
    # Of gguf, which writes two files one after the other, the first: weights in 16 bits.
    size = sum(files.values()) if format_name == "huggingface" else files["model-f16.gguf"]
    told: dict[str, Any] = {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "files": files,
        "file_bytes": size,
    }
    told |= {"loading_kilobytes": loaded, "network_kilobytes": own, "peak_kilobytes": peak}
    print(json.dumps({**told, "ratio": 1024 * peak / size, "processor_seconds": seconds}))


def _kilobytes(word: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(word))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--embed", type=int, default=2048, help="width of the llama that is written")
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--formats", nargs="+", choices=("huggingface", "gguf"), default=["huggingface", "gguf"])
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        child(arguments.child, arguments.formats[0])
        return
    torch.set_num_threads(1)
    parts: dict[str, Callable[[], Any]] = {
        "extracted": lambda: extracted(arguments.rounds),
        "decode": lambda: decode(arguments.rounds),
        "memory": lambda: memory(arguments.embed, arguments.layers, arguments.formats),
    }
    result = {name: parts[name]() for name in arguments.only}
    facts = {"torch": torch.__version__, "threads": 1, "seconds_are": "of the processor", **describe_machine()}
    if arguments.json:
        print(json.dumps({**result, **facts}, indent=2))
        return
    for name, rows in result.items():
        for row in rows if isinstance(rows, list) else [rows]:
            numbers = " ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
            print(f"{name}: {numbers}")


if __name__ == "__main__":
    main()
