"""`model.onnx` through `torch.export`, for ONNX Runtime and everything that reads ONNX.

Batch and, of texts, length are free. A language model keeps keys and values of what it has read
(`past_key_values.0.key` and so on in, `present.0.key` out, as optimum names them). `metadata_props` has the names of
the classes, how an input is prepared and the licence.

An export that names this format also gets `model_fp16.onnx`, where 16 bits are near enough. A network of two towers
also has a file of each, `vision_model.onnx` and `text_model.onnx`, which give unit vectors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from export.contents import BundleContents, Part
from export.formats.onnx.graph import name_layers, rid_of_talk
from export.formats.onnx.resizing import TABLE
from export.formats.onnx.traced import in_float32, write_for_measuring
from export.programs import Signature, program, quiet, signature
from export.runtimes.onnxruntime.exactness import EXACTLY, INEXACT, SATURATES, exact_weight_bits
from export.towers import towers_of
from quantization.layer import Plan
from quantization.qdq import quantize_file
from quantization.quantizable import applied_to, weight_bits
from supernet.inputs import Inputs

__all__ = ["GENERATES", "PACKAGES", "REFERENCE", "RELOAD", "SCALED", "TOLERANCE", "parts", "write", "write_contents"]

# Another runtime fuses and orders floating-point operations differently.
TOLERANCE, HALF_TOLERANCE = 1e-4, 2e-3
# Of the largest logit.
SCALED = True
GENERATES = True

OPSET = 18
ONE_LENGTH = "Texts have {length} tokens: layers of this network need a length that is known."
OLDER = "Written by torch's older exporter, for one length of texts: torch.export refuses this network ({why})."
FILE, HALF = "model.onnx", "model_fp16.onnx"
# Larger weights lie in a file beside the graph: protocol buffers end at 2 GB.
EXTERNAL_BYTES = 1_800_000_000

PACKAGES = ("onnxruntime",)

# The network whose logits the written file must give, where it is not the one that was written.
REFERENCE = in_float32

# In `metadata_props`: bits of weights that kernels multiply with bytes.
WEIGHT_BITS = "weight_bits"

RELOAD = (
    f"""{SATURATES}
def reload(folder, part=""):
    import numpy, onnxruntime, os
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "0"))
    def made(name):
        return onnxruntime.InferenceSession(f"{{folder}}/{{name}}.onnx", options, providers=["CPUExecutionProvider"])
    def opened(name):
        session = made(name)
        if session.get_modelmeta().custom_metadata_map.get("{WEIGHT_BITS}") != "8" or not saturates():
            return session
        options.add_session_config_entry("{EXACTLY}", "1")
        return made(name)
"""
    + """    if part == "towers":
        towers = [opened(name) for name in ("vision_model", "text_model")]
        facts = towers[0].get_modelmeta().custom_metadata_map
        scale, bias = float(facts["logit_scale"]), float(facts["logit_bias"])
        def pair(*given):
            image, text = (one.run(None, {one.get_inputs()[0].name: x})[0] for one, x in zip(towers, given))
            column = numpy.ones((len(image), 1), dtype=numpy.float32)
            rows = [numpy.concatenate([scale * image, bias * column], 1), numpy.concatenate([text, column], 1)]
            return numpy.stack(rows, 1)
        return pair
    session = opened("model_" + part if part else "model")
    cache = {i.name: i for i in session.get_inputs() if i.name.startswith("past_key_values")}
    def step(ids, past, before):
        batch, tokens = ids.shape
        given = {
            "input_ids": ids,
            "attention_mask": numpy.ones((batch, before + tokens), dtype=numpy.int64),
            "position_ids": numpy.tile(numpy.arange(before, before + tokens), (batch, 1)),
        }
        logits, *present = session.run(None, given | past)
        return logits, dict(zip(cache, present))
    def empty(batch):
        shape = lambda one: (batch, one.shape[1], 0, one.shape[3])
        return {name: numpy.zeros(shape(one), dtype=numpy.float32) for name, one in cache.items()}
    def run(*given):
        if cache:
            return step(given[0], empty(len(given[0])), 0)[0]
        return session.run(None, dict(zip([one.name for one in session.get_inputs()], given)))[0]
    def generate(prompts, count):
        ids, past, before, found = prompts, empty(len(prompts)), 0, []
        for _ in range(count):
            logits, past = step(ids, past, before)
            before += ids.shape[1]
            ids = logits[:, -1].argmax(-1)[:, None].astype(numpy.int64)
            found.append(ids)
        return numpy.concatenate(found, 1)
    if cache:
        run.generate = generate
    return run
"""
)


def write(network: nn.Module, example: Tensor | Inputs, folder: Path) -> str | None:
    """Write `model.onnx`, weights inside the file; of a network with a quantization policy as they are stored.

    Returns:
        What to tell of it: that it takes one length, or that the older exporter wrote it; None: nothing.

    Raises:
        ValueError: a scheme of the policy that ONNX Runtime cannot execute.
    """
    applied = applied_to(network)
    plans, tied = ({}, {}) if applied is None else (applied.plans, applied.tied)
    whole = in_float32(network) if applied is None else applied.folded
    try:
        called = _written(signature(whole, example), plans, tied, folder / FILE)
    except Exception as error:  # the exporter's own classes derive from Exception alone
        # Such as a network whose data decide what it computes, which torch.export refuses.
        write_for_measuring(network, example, folder)
        if (bits := weight_bits(plans.values())) is not None:
            _say(folder / FILE, {WEIGHT_BITS: str(bits)})
        return OLDER.format(why=type(error).__name__)
    for tower in towers_of(whole, example):
        own = {path: plan for path, plan in plans.items() if path.split(".")[0] in tower.slots}
        _written(tower.signature, own, tied, folder / tower.file)
        _say(folder / tower.file, tower.facts)
    return None if called.length is None else ONE_LENGTH.format(length=called.length)


def _written(called: Signature, plans: Mapping[str, Plan], tied: Mapping[str, str], file: Path) -> Signature:
    """Write a network's graph, of a policy's layers as they are stored; how it is called."""
    model, called = exported(called)
    name_layers(model, "network." if called.cached else "")
    if plans:
        onnx.save(model, str(file))
        quantize_file(file, plans, tied)
        model = onnx.load(str(file))
    rid_of_talk(model)
    if (bits := weight_bits(plans.values())) is not None:
        model.metadata_props.add(key=WEIGHT_BITS, value=str(bits))
    _save(model, file)
    return called


def write_contents(contents: BundleContents, example: Tensor | Inputs, folder: Path) -> dict[str, Any] | None:
    """Write `model.onnx` with what it should say of itself and, where the format was named, `model_fp16.onnx`."""
    note = write(contents.network, example, folder)
    _tell(folder / FILE, contents)
    told = None if note is None else {"notes": [note]}
    if not contents.formats:
        return told
    if applied_to(contents.network) is None:
        _halve(folder)
    if (config := _config(contents)) is not None:
        (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    return told


def parts(folder: Path) -> dict[str, Part]:
    """The files that are checked one by one."""
    half = {"fp16": Part(HALF_TOLERANCE, optional=True)} if (folder / HALF).is_file() else {}
    towers = {"towers": Part(TOLERANCE)} if (folder / "vision_model.onnx").is_file() else {}
    return {"": Part(TOLERANCE)} | towers | half


def remark(folder: Path) -> str | None:
    """What must be known of a file on this machine; None: nothing."""
    said = {prop.key: prop.value for prop in onnx.load(str(folder / FILE), load_external_data=False).metadata_props}
    if said.get(WEIGHT_BITS) != "8" or exact_weight_bits() == 8:
        return None
    return (
        f"{FILE} has weights of 8 bits, and kernels of ONNX Runtime on this machine {INEXACT}. It "
        f'was checked with the session option {EXACTLY} = "1"; without it, its answers here may be wrong.'
    )


def leave_out(folder: Path, part: str) -> None:
    """Take away a file that is not near enough."""
    for file in folder.glob(f"model_{part}.onnx*"):
        file.unlink()


def exported(called: Signature) -> tuple[onnx.ModelProto, Signature]:
    """A network's graph, with parameters as its initializers, and how it is called."""
    made, called = program(called)
    with quiet(), torch.no_grad():
        found = torch.onnx.export(
            made,
            input_names=called.inputs,
            output_names=called.outputs,
            dynamo=True,
            opset_version=OPSET,
            custom_translation_table=TABLE,
            verbose=False,
        )
    assert found is not None
    model = found.model_proto
    for value, free in zip(model.graph.input, called.dynamic, strict=True):
        for place, name in free.items():
            value.type.tensor_type.shape.dim[place].dim_param = name
    del model.graph.value_info[:]
    return model, called


def _save(model: onnx.ModelProto, file: Path) -> None:
    if model.ByteSize() <= EXTERNAL_BYTES:
        onnx.save(model, str(file))
        return
    location = file.name + ".data"
    onnx.save(model, str(file), save_as_external_data=True, all_tensors_to_one_file=True, location=location)


def _tell(file: Path, contents: BundleContents) -> None:
    """Write names of classes, preparation and licence into the file."""
    facts = contents.facts
    said = facts.get("preprocessing") or {}
    told = {
        "class_names": said.get("labels"),
        "preprocessing": {name: value for name, value in said.items() if name != "labels"} or None,
        "license": facts.get("licence"),
        "space": facts.get("space"),
        "architecture_id": facts.get("architecture_id"),
    }
    _say(file, told)


def _say(file: Path, told: Mapping[str, Any]) -> None:
    """Write facts into a file's `metadata_props`."""
    model = onnx.load(str(file), load_external_data=False)
    for key, value in told.items():
        if value is not None:
            text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            model.metadata_props.add(key=key, value=text)
    onnx.save(model, str(file))


def _halve(folder: Path) -> None:
    """Write the same with weights and arithmetic in 16 bits; inputs and outputs stay as they are."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = onnx.load(str(folder / FILE))
    with quiet():
        half = convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=True)
    _save(half, folder / HALF)


def _config(contents: BundleContents) -> dict[str, Any] | None:
    """config.json, with which optimum's classes open the folder; None where transformers has no such network."""
    from export.formats.huggingface.format import described
    from search_space.checkpoint import CheckpointError
    from search_space.sentences import POOLING

    try:
        config = described(contents)[0]
    except (CheckpointError, AttributeError):
        return None
    # The file answers with the vector of a text, which is pooled, and optimum looks for numbers of tokens.
    return None if POOLING in config else config
