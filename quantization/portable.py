"""A quantized network in plain PyTorch, from the tensors that an export stores. Needs torch, nothing else.

`quantize(model, recipe)` gives a freshly built network the shape of the stored one; load the stored tensors into it.
Integers stay integers in memory; a layer turns them into numbers when it runs.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class QuantizedLayer(nn.Module):
    """A convolution, linear layer or table of rows with stored weights.

    Buffers: `values` (integers, two in a byte for 4 bits; or bfloat16), `scale` of shape (outputs, groups),
    `zero_point` where the scheme has one, and `bias`.
    """

    def __init__(self, layer: nn.Module, how: dict) -> None:  # type: ignore[type-arg]
        super().__init__()
        weight: Tensor = layer.weight  # type: ignore[assignment]
        self.shape, self.bits, self.group = tuple(weight.shape), how["bits"], how["group"]
        self.inputs, self.outputs = how["inputs"], how["outputs"]
        self.dynamic, self.activation = how["dynamic"], how["activation"]
        self.rows = isinstance(layer, nn.Embedding)
        self.conv = (layer.stride, layer.padding, layer.dilation, layer.groups) if weight.dim() == 4 else None
        outputs, each = weight.shape[0], weight[0].numel()
        size = self.group or each
        groups = -(-each // size)
        bias = getattr(layer, "bias", None) is not None
        if self.bits == 16:
            self.register_buffer("values", torch.zeros(self.shape, dtype=torch.bfloat16))
            self.register_buffer("bias", torch.zeros(outputs, dtype=torch.bfloat16) if bias else None)
            return
        kind = torch.uint8 if self.bits == 4 else torch.int8
        stored = (outputs, groups * size // 2) if self.bits == 4 else self.shape
        self.register_buffer("values", torch.zeros(stored, dtype=kind))
        self.register_buffer("scale", torch.ones(outputs, groups))
        zero = torch.zeros(outputs, groups, dtype=torch.int8) if how["zero_points"] else None
        self.register_buffer("zero_point", zero)
        self.register_buffer("bias", torch.zeros(outputs) if bias else None)

    def weight(self, rows: "Tensor | None" = None) -> Tensor:
        """The weight that is computed with, or some of its rows."""
        values: Tensor = self.values  # type: ignore[assignment]
        if self.bits == 16:
            return values
        scale: Tensor = self.scale  # type: ignore[assignment]
        if rows is not None:
            values, scale = values[rows], scale[rows]
        if self.bits == 4:
            values = torch.stack((values & 15, values >> 4), dim=2).flatten(1).to(torch.int8) - 8
        each = 1
        for length in self.shape[1:]:
            each *= length
        flat = values.reshape(len(values), -1)[:, :each]
        size = self.group or each
        number = flat.float()
        if self.zero_point is not None:
            number = number - self.zero_point.repeat_interleave(size, dim=1)[:, :each].float()  # type: ignore[operator]
        return (number * scale.repeat_interleave(size, dim=1)[:, :each]).reshape(-1, *self.shape[1:])

    def forward(self, x: Tensor) -> Tensor:
        if self.rows:
            return self.weight(x.flatten()).reshape(*x.shape, -1)
        given, weight = x.dtype, self.weight()
        bias: Tensor | None = self.bias  # type: ignore[assignment]
        if self.inputs is not None:
            x = torch.fake_quantize_per_tensor_affine(x, self.inputs[0], self.inputs[1], 0, 255)
        elif self.dynamic:
            x = fake_per_example(x)
        elif self.bits == 16:
            x = x.bfloat16()
        out = F.linear(x, weight, bias) if self.conv is None else F.conv2d(x, weight, bias, *self.conv)  # type: ignore[call-overload]
        if self.outputs is not None:
            if self.activation:
                out = out.clamp(min=0.0, max=6.0 if self.activation == "ReLU6" else None)
            out = torch.fake_quantize_per_tensor_affine(out, self.outputs[0], self.outputs[1], 0, 255)
        answer: Tensor = out.to(given)
        return answer


class TiedLayer(nn.Module):
    """A linear layer whose weight is a stored table of words."""

    def __init__(self, table: QuantizedLayer, bias: "Tensor | None") -> None:
        super().__init__()
        self.table = [table]  # in a list: it is the table's own slot that is stored
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.table[0].weight(), self.bias)


def fake_per_example(x: Tensor) -> Tensor:
    """Each example as it is after bytes of a range of its own."""
    flat = x.reshape(x.shape[0], -1)
    least, most = flat.amin(1).clamp(max=0), flat.amax(1).clamp(min=0)
    scale = ((most - least) / 255).clamp(min=torch.finfo(torch.float32).tiny)
    zero = (-least / scale).round().clamp(0, 255)
    shape = (-1, *[1] * (x.dim() - 1))
    scale, zero = scale.reshape(shape), zero.reshape(shape)
    return ((x / scale).round().add(zero).clamp(0, 255) - zero) * scale


def replace(model: nn.Module, path: str, module: nn.Module) -> None:
    """Put another module in a module's place."""
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)


def quantize(model: nn.Module, recipe: dict) -> nn.Module:  # type: ignore[type-arg]
    """Give a network the layers of the stored one: normalisation folded away, quantized layers in their places.

    Args:
        recipe: `folded`: path of a convolution -> path of the normalisation that is part of it now; `layers`: path of
            a layer -> how it is executed; `tied`: path of a linear layer -> path of the table that its weight is.
    """
    for path, norm in recipe["folded"].items():
        conv = model.get_submodule(path)
        if conv.bias is None:
            conv.bias = nn.Parameter(torch.zeros(conv.out_channels))
        replace(model, norm, nn.Identity())
    for path, how in recipe["layers"].items():
        replace(model, path, QuantizedLayer(model.get_submodule(path), how))
    for path, table in recipe.get("tied", {}).items():
        head: nn.Linear = model.get_submodule(path)  # type: ignore[assignment]
        replace(model, path, TiedLayer(model.get_submodule(table), head.bias))  # type: ignore[arg-type]
    return model
