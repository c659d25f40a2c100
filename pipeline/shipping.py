"""The type of numbers in which a job's networks are shipped: that of its checkpoint, unless the job says otherwise.

A training has float32 weights. What it ends with is rounded to the type that is shipped before anything is scored, so
that the search ranks what people get. PyTorch's files hold and compute in that type; ONNX Runtime has no kernels for
16-bit floats on a CPU, so `model.onnx` holds the same values as float32.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from job.spec import JobSpec
from predictors.targets import RUNTIMES, TargetName
from supernet.network import Supernet


def float_type(spec: JobSpec) -> torch.dtype:
    """The type that is shipped; what a quantization policy leaves is float32."""
    name = "float32" if spec.quantization is not None else spec.supernet.float_type
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def rounded(supernet: Supernet, spec: JobSpec) -> Supernet:
    """The same supernet, its float32 weights rounded to numbers that the shipped type has."""
    dtype = float_type(spec)
    if dtype != torch.float32:
        with torch.no_grad():
            for parameter in supernet.parameters():
                parameter.copy_(parameter.to(dtype))
    return supernet


def shipped(network: nn.Module, spec: JobSpec) -> nn.Module:
    """The network in the type that is shipped; itself where that is float32."""
    dtype = float_type(spec)
    return network if dtype == torch.float32 else copy.deepcopy(network).to(dtype)


def scored_as(network: nn.Module, spec: JobSpec) -> nn.Module:
    """The network as its target computes it: in float32 in ONNX Runtime, else as it is shipped."""
    runtime = None if spec.target is None else TargetName.parse(spec.target).runtime
    return network if runtime is not None and RUNTIMES[runtime].engine == "onnxruntime" else shipped(network, spec)


def said_of_type(spec: JobSpec) -> str | None:
    """What to tell of the type; None where everything is float32."""
    found = spec.supernet.found
    dtype = str(float_type(spec)).removeprefix("torch.")
    if dtype != "float32":
        return (
            f"Networks are scored and shipped in {dtype}, and their sizes count 2 bytes a weight; ONNX Runtime gets "
            "the same values as float32. supernet.dtype says otherwise."
        )
    if found is not None and found.dtype != "float32":
        why = "quantization is searched" if spec.quantization is not None else "supernet.dtype asks for it"
        return f"The checkpoint's numbers are {found.dtype}; networks are float32, because {why}."
    return None
