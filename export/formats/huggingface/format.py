"""`config.json` and `model.safetensors` under transformers' names, with a tokenizer or an image processor.

A network whose layers are alike is that network. Where they differ, all are as wide as the widest, filled with zeros
that change nothing: a zero row of a weight gives a zero, which a zero column takes no notice of.

Of a network of two towers each tower is also there by itself, in `vision_model/` and `text_model/`.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from export.contents import BundleContents, Part
from export.formats.huggingface.folder import extras, generation_config, image_processor
from export.generation import in_float32
from export.towers import folders_of
from search_space.checkpoint import INDEX, SINGLE, Piece, Place
from search_space.inputs import INPUT, MASK
from search_space.plugins import FAMILIES
from supernet.inputs import Inputs, named, part
from supernet.network import complete, float_type_of

# Both compute in float32, and sum in another order where one of them is padded.
TOLERANCE = 1e-5
# Of the largest logit.
SCALED = True
GENERATES = True

PACKAGES = ("torch", "transformers", "safetensors")

# What one file holds at most, as transformers itself cuts them.
SHARD_BYTES = 5_000_000_000

LEADING_ONES = {"embeddings.cls_token": 2, "embeddings.position_embeddings": 1, "head.probe": 1}

# Files of 16 bits are compared in 32: both compute with the same weights then.
REFERENCE = in_float32

RELOAD = """
def reload(folder, part=""):
    import json, os, torch, transformers
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with open(folder + "/config.json") as file:
        name = json.load(file)["architectures"][0]
    tasks = ("ForCausalLM", "ForSequenceClassification", "ForImageClassification")
    task = next((one for one in tasks if name.endswith(one)), "")
    def loaded(kind, folder):
        model, said = getattr(transformers, kind).from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, local_files_only=True, trust_remote_code=False
        )
        wrong = {key: sorted(map(str, found)) for key, found in said.items() if found}
        if wrong:
            raise SystemExit(f"from_pretrained does not find what it expects: {wrong}")
        return model.eval()
    model = loaded("AutoModel" + task, folder)
    def unit(answer):
        for name in ("image_embeds", "text_embeds", "pooler_output"):
            if getattr(answer, name, None) is not None:
                return torch.nn.functional.normalize(getattr(answer, name), dim=-1)
    def pair(pixels, ids):
        pixels, ids = torch.from_numpy(pixels), torch.from_numpy(ids)
        with torch.no_grad():
            if part:
                towers = []
                for home in ("vision_model", "text_model"):
                    with open(f"{folder}/{home}/config.json") as file:
                        towers.append(loaded(json.load(file)["architectures"][0], f"{folder}/{home}"))
                image, text = unit(towers[0](pixel_values=pixels)), unit(towers[1](input_ids=ids))
            else:
                answer = model(pixel_values=pixels, input_ids=ids)
                image, text = answer.image_embeds, answer.text_embeds
            bias = model.logit_bias if hasattr(model, "logit_bias") else torch.zeros(1)
            image = torch.cat([model.logit_scale.exp() * image, bias.expand(len(image), 1)], 1)
            return torch.stack([image, torch.cat([text, torch.ones(len(text), 1)], 1)], 1).numpy()
    if hasattr(model, "logit_scale"):
        return pair
    def run(x, mask=None):
        given = {model.main_input_name: torch.from_numpy(x)}
        if mask is not None:
            given["attention_mask"] = torch.from_numpy(mask).long()
        with torch.no_grad():
            answer = model(**given)
        return (answer.logits if hasattr(answer, "logits") else answer.pooler_output).numpy()
    def generate(prompts, count):
        model.generation_config = transformers.GenerationConfig(do_sample=False, pad_token_id=0)
        ids = torch.from_numpy(prompts)
        with torch.no_grad():
            text = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=count)
        return text[:, prompts.shape[1]:].numpy()
    if task == "ForCausalLM":
        run.generate = generate
    return run
"""


def parts(folder: Path) -> dict[str, Part]:
    """The folders that are checked one by one."""
    towers = {"towers": Part(TOLERANCE)} if (folder / "vision_model").is_dir() else {}
    return {"": Part(TOLERANCE)} | towers


def write(network: nn.Module, example: Tensor | Inputs, folder: Path) -> None:
    """Not enough to know: see `write_contents`.

    Raises:
        NotImplementedError: always.
    """
    raise NotImplementedError("huggingface needs a network's layers; use write_contents.")


def write_contents(contents: BundleContents, example: Tensor | Inputs, folder: Path) -> dict[str, Any]:
    """Write the folder.

    Returns:
        `notes` for the card, `bytes` of the weights, of which `padding_bytes` are zeros, and, where there are any,
        `measured`: milliseconds of a forward pass of the network and of transformers' model.
    """
    network = contents.network
    config, places = described(contents)
    tensors = dict(padded(network, places))
    for home, said, own_tensors in (("", config, tensors), *folders_of(config, tensors)):
        (folder / home).mkdir(exist_ok=True)
        (folder / home / "config.json").write_text(json.dumps(said, indent=2, sort_keys=True) + "\n")
        write_weights(own_tensors, folder / home)
    if (made := generation_config(config, contents)) is not None:
        (folder / "generation_config.json").write_text(json.dumps(made, indent=2, sort_keys=True) + "\n")
    if (made := image_processor(config, contents.facts)) is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(made, indent=2, sort_keys=True) + "\n")
    written = sum(tensor.numel() for tensor in tensors.values() if tensor.is_floating_point())
    own = sum(
        held.numel()
        for place in places.values()
        for piece in place.pieces
        if (held := _held(network, piece)) is not None
    )
    width = next(iter(tensors.values())).element_size()
    told: dict[str, Any] = {"bytes": written * width, "padding_bytes": (written - own) * width}
    if written == own:
        return told | {"notes": ["All layers are alike, so transformers' model is this network, number for number."]}
    share = 100 * (written - own) / own
    note = (
        f"Layers differ in width, and transformers' model has one: {(written - own) * width:,} bytes of zeros "
        f"({share:.3g} % more weights) fill them up. Answers are the same; the time that they cost is in the export's "
        "report."
    )
    return told | {"notes": [note], "measured": _timed(network, example, folder)}


def described(contents: BundleContents) -> tuple[dict[str, Any], dict[str, Place]]:
    """config.json, and where each tensor of the folder comes from.

    Raises:
        CheckpointError: transformers has no class of such networks.
    """
    family = FAMILIES.load(str(contents.facts["space"]).split("/")[0])
    config = family.config_of(contents.layers)
    places: dict[str, Place] = family.layout(config).places
    dtype = str(float_type_of(contents.network)).removeprefix("torch.")
    return config | extras(config, contents) | {"dtype": dtype}, _renumbered(places, contents.network)


def _renumbered(places: Mapping[str, Place], network: nn.Module) -> dict[str, Place]:
    """The same places with the network's own slots: it may have left layers out; transformers counts without gaps."""
    wanted = list(dict.fromkeys(piece.slot for place in places.values() for piece in place.pieces))
    own = [name for name, block in network.named_children() if any(True for _ in block.parameters())]
    slots = dict(zip(wanted, own, strict=True))

    def renumbered(place: Place) -> Place:
        pieces = tuple(replace(piece, slot=slots[piece.slot]) for piece in place.split)
        return replace(place, slot="" if pieces else slots[place.slot], split=pieces)

    return {name: renumbered(place) for name, place in places.items()}


def padded(network: nn.Module, places: Mapping[str, Place]) -> Iterator[tuple[str, Tensor]]:
    """Tensors by their names in the folder, each filled up to the shape that it has there.

    Attention or a feed-forward network that a layer lacks is all zeros there: what it adds is zero.
    """
    own = float_type_of(network)
    for name, place in places.items():
        filled = _joined(network, place, name, own)
        # Places leave dimensions of one out, which transformers' ViT has in front.
        ones = next((count for end, count in LEADING_ONES.items() if name.endswith(end)), 0)
        yield name, filled.reshape((*[1] * ones, *filled.shape))
        if name.endswith(".running_var"):
            yield name.replace("running_var", "num_batches_tracked"), torch.tensor(0)


def _joined(network: nn.Module, place: Place, name: str, dtype: torch.dtype) -> Tensor:
    """A place's tensor, filled up; of pieces one below the other."""

    def one(piece: Piece, shape: tuple[int, ...]) -> Tensor:
        held = _held(network, piece)
        nothing = torch.zeros([0] * len(shape), dtype=dtype)
        return _filled(nothing if held is None else held.detach().cpu(), shape, name)

    if not place.split:
        return one(place.pieces[0], place.shape)
    return torch.cat([one(piece, (piece.stop - piece.start, *place.shape[1:])) for piece in place.split])


def _filled(held: Tensor, shape: tuple[int, ...], name: str) -> Tensor:
    if held.shape == shape:
        return held.contiguous()
    # A channel that is not there has variance one, so that normalising it gives its zero.
    filled = torch.ones(shape, dtype=held.dtype) if name.endswith("running_var") else held.new_zeros(shape)
    filled[tuple(slice(0, size) for size in held.shape)] = held
    return filled


def _held(network: nn.Module, place: Piece) -> Tensor | None:
    """The network's tensor, or what stands for one that folding took away; None of a half that a layer lacks."""
    block = network.get_submodule(place.slot)
    holder, _, attribute = place.parameter.rpartition(".")
    if holder.startswith(getattr(block, "left_out", ())):
        return None
    module = block.get_submodule(holder)
    if isinstance(module, nn.Identity):
        return _of_folded(block, holder, attribute)
    found = getattr(module, attribute)
    assert isinstance(found, Tensor), place
    return found


def _of_folded(block: nn.Module, norm: str, attribute: str) -> Tensor:
    """A batch normalisation that does nothing but add the bias of the convolution it was folded into."""
    conv = block.get_submodule(norm.replace("norm", "conv") if norm.startswith("norm") else norm.removesuffix("_norm"))
    assert isinstance(conv, nn.Conv2d)
    assert conv.bias is not None
    if attribute == "bias":
        return conv.bias
    eps = nn.BatchNorm2d(1).eps
    value = {"weight": (1 + eps) ** 0.5, "running_mean": 0.0, "running_var": 1.0}[attribute]
    return torch.full_like(conv.bias, value)


def write_weights(tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Write safetensors: one file, or several of `SHARD_BYTES` at most and an index."""
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if size + tensor.nbytes > SHARD_BYTES and shards[-1]:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    if len(shards) == 1:
        save_file(dict(tensors), folder / SINGLE, {"format": "pt"})
        return
    names = [f"model-{n:05d}-of-{len(shards):05d}.safetensors" for n in range(1, len(shards) + 1)]
    for file, shard in zip(names, shards, strict=True):
        save_file(shard, folder / file, {"format": "pt"})
    where = {name: file for file, shard in zip(names, shards, strict=True) for name in shard}
    total = sum(tensor.nbytes for tensor in tensors.values())
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": where}, indent=2) + "\n")


def _timed(network: nn.Module, example: Tensor | Inputs, folder: Path) -> dict[str, Any]:
    """Milliseconds of one forward pass of one sample, in this process, the median of a few."""
    import transformers

    config = json.loads((folder / "config.json").read_text())
    model = getattr(transformers, config["architectures"][0]).from_pretrained(folder, local_files_only=True).eval()
    given = complete(network, part(named(example), slice(1)))
    theirs_of = {INPUT: model.main_input_name, MASK: "attention_mask"}
    ids = {theirs_of.get(name, name): x.long() if x.dtype == torch.bool else x for name, x in given.items()}
    with torch.no_grad():
        own, theirs = _median_ms(lambda: network(*given.values())), _median_ms(lambda: model(**ids))
    return {"network_ms": own, "huggingface_ms": theirs, "ratio": theirs / own, "threads": torch.get_num_threads()}


def _median_ms(run: Any) -> float:
    times = []
    for _ in range(9):
        begin = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - begin))
        if sum(times) > 2000:
            break
    return statistics.median(times[1:] or times)
