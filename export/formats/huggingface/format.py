"""`config.json` and `model.safetensors` under transformers' names, with a tokenizer or an image processor.

A network whose layers are alike is that network. Where they differ, all are as wide as the widest, filled with zeros
that change nothing: a zero row of a weight gives a zero, which a zero column takes no notice of.

Each tower of a network of two is also there by itself, in `vision_model/` and `text_model/`.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from export.contents import BundleContents, Part
from export.formats.huggingface.folder import extras, folder_files, unused
from export.generation import in_float32
from export.streamed import Made, save_streamed
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
# Larger files with zeros are not timed where they are written.
TIMED_BYTES = 1_000_000_000

# Dimensions of one that transformers' tensors have in front and places leave out, by the ends of their names.
LEADING_ONES = {
    "embeddings.cls_token": 2,
    "embeddings.position_embeddings": 1,
    "embeddings.distillation_token": 1,
    "embeddings.register_tokens": 1,
    "head.probe": 1,
    ".grn.weight": 3,
    ".grn.bias": 3,
}
# Of these the mask token has one as well.
MASKED_WITH_ONE = ("beit",)

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
    task = next((one for one in tasks if one in name), "ForCausalLM" if name.endswith("LMHeadModel") else "")
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
    pooled_as, normed = None, False
    if os.path.exists(folder + "/modules.json"):
        with open(folder + "/modules.json") as modules, open(folder + "/1_Pooling/config.json") as pooling:
            normed = any(module["type"].endswith("Normalize") for module in json.load(modules))
            pooled_as = next(key for key, on in json.load(pooling).items() if on is True)
    def sentence(hidden, mask):
        mask = torch.ones(hidden.shape[:2]).long() if mask is None else mask
        if pooled_as == "pooling_mode_cls_token":
            made = hidden[:, 0]
        elif pooled_as == "pooling_mode_mean_tokens":
            made = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        elif pooled_as == "pooling_mode_max_tokens":
            made = hidden.masked_fill(mask[..., None] == 0, -1e9).amax(1)
        else:
            made = hidden[torch.arange(len(hidden)), (mask * torch.arange(mask.shape[1])).amax(1)]
        return torch.nn.functional.normalize(made, dim=-1) if normed else made
    def run(x, mask=None):
        given = {model.main_input_name: torch.from_numpy(x)}
        if mask is not None:
            given["attention_mask"] = torch.from_numpy(mask).long()
        with torch.no_grad():
            answer = model(**given)
        if hasattr(answer, "logits"):
            return answer.logits.numpy()
        if pooled_as is not None:
            return sentence(answer.last_hidden_state, given.get("attention_mask")).numpy()
        pooled = getattr(answer, "pooler_output", None)
        return (answer.last_hidden_state[:, 0] if pooled is None else pooled.flatten(1)).numpy()
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
    tensors = to_write(contents, places, str(config["model_type"]))
    for name, content in folder_files(config, contents).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    for home, said, own_tensors in folders_of(config, tensors):
        (folder / home).mkdir(exist_ok=True)
        (folder / home / "config.json").write_text(json.dumps(said, indent=2, sort_keys=True) + "\n")
        write_weights(own_tensors, folder / home)
    write_weights(tensors | unused(config, float_type_of(network)), folder)
    written = sum(tensor.numel for tensor in tensors.values() if tensor.dtype.is_floating_point)
    own = sum(held.numel() for piece in _pieces(places) if (held := _held(contents, piece)) is not None)
    width = next(iter(tensors.values())).dtype.itemsize
    told: dict[str, Any] = {"bytes": written * width, "padding_bytes": (written - own) * width}
    if written == own:
        return told | {"notes": ["All layers are alike, so transformers' model is this network, number for number."]}
    share = 100 * (written - own) / own
    note = (
        f"Layers differ in width, and transformers' model has one: {(written - own) * width:,} bytes of zeros "
        f"({share:.3g} % more weights) fill them up. Answers are the same"
    )
    if written * width > TIMED_BYTES:
        # transformers' model would lie beside the network.
        return told | {"notes": [f"{note}; so large a file was not timed."]}
    timed = _timed(network, example, folder)
    return told | {"notes": [f"{note}; the time that they cost is in the export's report."], "measured": timed}


def described(contents: BundleContents) -> tuple[dict[str, Any], dict[str, Place]]:
    """config.json, and where each tensor of the folder comes from.

    Raises:
        CheckpointError: transformers has no class of such networks.
    """
    family = FAMILIES.load(str(contents.facts["space"]).split("/")[0])
    config = family.config_of(contents.layers, contents.facts.get("checkpoint"))
    places: dict[str, Place] = family.layout(config).places
    dtype = str(float_type_of(contents.network)).removeprefix("torch.")
    return config | extras(config, contents) | {"dtype": dtype}, _renumbered(places, contents.network)


def _renumbered(places: Mapping[str, Place], network: nn.Module) -> dict[str, Place]:
    """The same places with the network's own slots: it may have left layers out; transformers counts without gaps.

    Where transformers counts more of them, slots are the same, and those that the network lacks have no name.
    """
    wanted = list(dict.fromkeys(piece.slot for piece in _pieces(places)))
    own = [name for name, block in network.named_children() if any(True for _ in block.parameters())]
    slots = {name: name if name in own else "" for name in wanted}
    if len(wanted) == len(own):
        slots = dict(zip(wanted, own, strict=True))

    def moved(place: Place) -> Place:
        split = tuple(replace(piece, slot=slots[piece.slot]) for piece in place.split)
        return replace(place, slot="" if split else slots[place.slot], split=split)

    return {name: moved(place) for name, place in places.items()}


def _pieces(places: Mapping[str, Place]) -> Iterator[Piece]:
    return (piece for place in places.values() for piece in place.pieces)


def to_write(contents: BundleContents, places: Mapping[str, Place], kind: str) -> dict[str, Made]:
    """Tensors by their names in the folder, each filled up, when it is made, to the shape that it has there.

    Args:
        kind: transformers' model type.
    """
    dtype = float_type_of(contents.network)
    found: dict[str, Made] = {}
    for name, place in places.items():
        # Places leave dimensions of one out, which transformers' tensors have in front.
        ones = next((count for end, count in LEADING_ONES.items() if name.endswith(end)), 0)
        ones += name.endswith("embeddings.mask_token") and kind in MASKED_WITH_ONE
        shape = (*[1] * ones, *place.shape)
        found[name] = Made(shape, dtype, partial(_shaped, contents, place, name, dtype, shape))
        if name.endswith(".running_var"):
            found[name.replace("running_var", "num_batches_tracked")] = Made.of(torch.tensor(0))
    return found


def _shaped(contents: BundleContents, place: Place, name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    return _assembled(contents, place, name, dtype).reshape(shape)


def _assembled(contents: BundleContents, place: Place, name: str, dtype: torch.dtype) -> Tensor:
    """A stored tensor from the parameters that are its rows: the inverse of `supernet.weights.cut`."""
    pieces = place.pieces
    whole = None if place.split else _held(contents, pieces[0])
    if whole is not None and whole.numel() == torch.Size(place.shape).numel():
        return whole  # nothing to fill up, so nothing to copy
    shape = place.shape[::-1] if pieces[0].transposed else place.shape
    # A channel that is not there has variance one, so that normalising it gives its zero.
    stored = torch.ones(shape, dtype=dtype) if name.endswith("running_var") else torch.zeros(shape, dtype=dtype)
    for piece in pieces:
        found = _held(contents, piece)
        if found is None:
            continue
        held = found.detach().cpu()
        rows = stored.unflatten(0, (piece.blocks, -1))
        rows = rows[:, piece.start : piece.stop or None]
        if held.numel() == rows.numel():
            rows.copy_(held.reshape(rows.shape))
        elif piece.blocks == 1:
            rows[0][tuple(slice(0, size) for size in held.shape)] = held
        else:
            # Blocks are heads, of which a narrower layer has the first.
            own = held.unflatten(0, (-1, rows.shape[1]))
            rows[tuple(slice(0, size) for size in own.shape)] = own
    return stored.T.contiguous() if pieces[0].transposed else stored


def _held(contents: BundleContents, piece: Piece) -> Tensor | None:
    """The network's tensor, or what stands for one that folding took away; None of a block, or of a half of a layer,
    that the network lacks: what it adds is zero."""
    if not piece.slot:
        return None
    block = contents.network.get_submodule(piece.slot)
    holder, _, attribute = piece.parameter.rpartition(".")
    if holder.startswith(getattr(block, "left_out", ())):
        return None
    module = block.get_submodule(holder)
    if isinstance(module, nn.Identity):
        eps = contents.layers[piece.slot].fields().get("eps", nn.BatchNorm2d(1).eps)
        return _of_folded(block, holder, attribute, float(eps))
    found = getattr(module, attribute)
    assert isinstance(found, Tensor), piece
    return found


def _of_folded(block: nn.Module, norm: str, attribute: str, eps: float) -> Tensor:
    """A batch normalisation that does nothing but add the bias of the convolution it was folded into."""
    conv = block.get_submodule(norm.replace("norm", "conv") if norm.startswith("norm") else norm.removesuffix("_norm"))
    assert isinstance(conv, nn.Conv2d)
    assert conv.bias is not None
    if attribute == "bias":
        return conv.bias
    value = {"weight": (1 + eps) ** 0.5, "running_mean": 0.0, "running_var": 1.0}[attribute]
    return torch.full_like(conv.bias, value)


def write_weights(tensors: Mapping[str, Made], folder: Path, shard_bytes: int | None = None) -> None:
    """Write safetensors, tensor by tensor: one file, or several of so many bytes (`SHARD_BYTES`) and an index."""
    most = shard_bytes or SHARD_BYTES
    shards: list[dict[str, Made]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if size + tensor.nbytes > most and shards[-1]:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    if len(shards) == 1:
        save_streamed(tensors, folder / SINGLE)
        return
    names = [f"model-{n:05d}-of-{len(shards):05d}.safetensors" for n in range(1, len(shards) + 1)]
    for file, shard in zip(names, shards, strict=True):
        save_streamed(shard, folder / file)
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
