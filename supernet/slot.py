"""Slot: an ordinary block at its largest size, whose smaller versions are slices of its weights.

There are no elastic layers. A sub-network's block is *the same class* built at a smaller size, and its
tensors are views of the largest block's: leading rows and columns, and the centre of a kernel
(arXiv 2003.11142, 3.1). So a sub-network inside the supernet and the same network extracted run the same code
on the same numbers. Kernels of a slot that has transforms are no slices: see `KernelTransform`.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from math import prod
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from search_space.layers import LayerSpec
from supernet.calibrate import BatchNorm
from supernet.kinds import block_class

# A gradient that is a view of a larger one is what is wanted here; torch warns once that it is strided.
warnings.filterwarnings("ignore", message="grad and param do not obey the gradient layout contract")

# Sub-blocks remembered per slot. They hold no storage; a few hundred cover the specs of a stage.
CACHED_SUB_BLOCKS = 512


def build_block(spec: LayerSpec) -> nn.Module:
    """The ordinary module of one layer, freshly initialised.

    Convolution weights are laid out channels-last, which trains the digits space 1.6 times as fast on a
    CPU. Supernet, sub-networks and extracted networks share the layout, and so their results to the bit.
    """
    block = block_class(spec)(**spec.fields())
    # `Module.to` would ask the same of tensors of rank five, which have no such layout.
    laid_out: nn.Module = block._apply(lambda t: t.to(memory_format=torch.channels_last) if t.dim() == 4 else t)
    return laid_out


def slice_bounds(large: torch.Size, small: torch.Size) -> tuple[tuple[int, int, int], ...]:
    """Where a smaller tensor lies in a larger one of the same rank: (dim, start, length) of each cut.

    Dimensions 0 and 1 (outputs, inputs) take the leading part; the others (a kernel's height and
    width) the centre. Dimensions of equal size are not cut.

    Raises:
        ValueError: the smaller tensor does not fit.
    """
    if len(large) != len(small) or any(s > n for n, s in zip(large, small, strict=True)):
        raise ValueError(f"A tensor of shape {tuple(small)} is not a slice of one of shape {tuple(large)}.")
    return tuple(
        (dim, 0 if dim < 2 else (n - s) // 2, s) for dim, (n, s) in enumerate(zip(large, small, strict=True)) if s < n
    )


class _Binding:
    """One tensor of a sub-block: a lasting view of its part of the slot's tensor.

    A parameter's view is a leaf of autograd. Right before backward enters the block, a hook makes the leaf's
    gradient the same view of the whole parameter's `.grad`. So the sum lands in the right part of the
    shared gradient: there is no graph of slices to walk, and no full-size gradient to fill with zeros.
    docs/decisions/0003 has numbers, and what this rules out.
    """

    __slots__ = ("bounds", "grad", "holder", "name", "source", "tensor")

    def __init__(self, holder: dict[str, Tensor | None], source: dict[str, Tensor | None], name: str) -> None:
        target, whole = holder[name], source[name]
        assert target is not None
        assert whole is not None
        self.holder, self.source, self.name = holder, source, name
        self.bounds = slice_bounds(whole.shape, target.shape)
        self.tensor: Tensor = target
        self.grad: Tensor | None = None

    @property
    def whole(self) -> Tensor:
        """The slot's tensor."""
        whole = self.source[self.name]
        assert whole is not None
        return whole

    def cut(self, whole: Tensor) -> Tensor:
        """The part of a tensor of the whole one's shape."""
        for bound in self.bounds:
            whole = whole.narrow(*bound)
        return whole

    def copied(self) -> Tensor:
        """The part with storage of its own, laid out as the sub-block's tensor is."""
        whole = self.whole
        return torch.empty_like(self.tensor, dtype=whole.dtype, device=whole.device).copy_(self.cut(whole))

    def bind(self) -> bool:
        """Let the sub-block hold its part of the current weights; False if that lasts for this pass only."""
        whole, self.grad = self.whole, None
        if not whole.is_leaf or not self.bounds:
            # Weights computed by somebody else's graph are left to autograd; a whole tensor is its own slice.
            self.tensor = self.holder[self.name] = self.cut(whole)
            return whole.is_leaf
        self.tensor = self.cut(whole.detach()).requires_grad_(whole.requires_grad)
        self.holder[self.name] = self.tensor
        return True

    def link_grad(self) -> None:
        """Let the sum that follows go into the gradient that the whole parameter has at this moment."""
        whole: Any = self.source[self.name]
        grad = whole.grad
        if grad is None:
            grad = whole.grad = torch.zeros_like(whole)
        if self.grad is not grad:
            self.grad = grad
            self.tensor.grad = self.cut(grad)

    def release(self) -> None:
        """Let the sub-block hold nothing here."""
        self.holder[self.name] = self.grad = None


class _Transformed(_Binding):
    """A kernel that is computed from the slot's by transforms, anew in every pass: autograd has its gradient."""

    __slots__ = ("_transforms",)

    def __init__(
        self,
        holder: dict[str, Tensor | None],
        source: dict[str, Tensor | None],
        name: str,
        transforms: Sequence[KernelTransform],
    ) -> None:
        super().__init__(holder, source, name)
        self._transforms = transforms

    def _computed(self) -> Tensor:
        kernel = self.whole
        for dim, start, length in self.bounds:
            if dim < 2:
                kernel = kernel.narrow(dim, start, length)
        # A 16-bit product would be another kernel than the one that is extracted.
        with torch.autocast(kernel.device.type, enabled=False):
            for transform in self._transforms:
                kernel = transform(kernel)
        return kernel.clone(memory_format=torch.channels_last if kernel.dim() == 4 else torch.contiguous_format)

    def copied(self) -> Tensor:
        """The kernel with storage of its own, laid out as the sub-block's tensor is."""
        kernel = self._computed()
        return torch.empty_like(self.tensor, dtype=kernel.dtype, device=kernel.device).copy_(kernel)

    def bind(self) -> bool:
        """Let the sub-block hold the kernel of the current weights, for this pass only."""
        self.grad = None
        self.tensor = self.holder[self.name] = self._computed()
        return False


class _SubBlock:
    """A block of one spec without storage of its own, and what is bound to it."""

    __slots__ = (
        "_buffers",
        "_computed",
        "_everything",
        "_lasting",
        "_needs_grad",
        "_places",
        "module",
        "parameters",
        "takes_mask",
    )

    def __init__(self, spec: LayerSpec, slot: Slot) -> None:
        with torch.device("meta"):
            self.module = build_block(spec)
        self.takes_mask: bool = getattr(self.module, "takes_mask", False)
        self.parameters = list(_bindings(self.module, slot, "_parameters"))
        buffers = list(_bindings(self.module, slot, "_buffers"))
        statistics = {id(m._buffers) for m in self.module.modules() if isinstance(m, BatchNorm)}
        self._buffers = [binding for binding in buffers if id(binding.holder) in statistics]
        self._computed = [binding for binding in self.parameters if isinstance(binding, _Transformed)]
        views = [binding for binding in self.parameters if not isinstance(binding, _Transformed)]
        # Tables that a block looks things up in: they are what they are in training, too.
        self._lasting = views + [binding for binding in buffers if id(binding.holder) not in statistics]
        self._everything = self._lasting + self._buffers
        self._places: list[int] = []
        self._needs_grad: list[bool] = []
        for binding in self._buffers:
            binding.release()

    def prepare(self, training: bool) -> None:
        """Bind what this pass needs, where it is not bound already; costs a fraction of a microsecond a tensor.

        Running statistics are bound for evaluation only. Views stay valid while the slot's tensors stay
        where they are and keep needing a gradient or not.
        """
        if self.module.training != training:
            self.module.train(training)
            self._places = []
            for binding in self._buffers:
                binding.release()
        bound = self._lasting if training else self._everything
        wholes: list[Any] = [binding.source[binding.name] for binding in bound]
        # map() over C functions: this runs for every block of every pass.
        places = list(map(_address, wholes))
        needs_grad = list(map(_needs_grad, wholes)) if torch.is_grad_enabled() else self._needs_grad
        if places != self._places or needs_grad != self._needs_grad:
            lasting = [binding.bind() for binding in bound]
            self._places = places if all(lasting) else []
            self._needs_grad = list(map(_needs_grad, wholes))
        for computed in self._computed:
            computed.bind()

    def link_gradients(self, _grad: Tensor) -> None:
        """Runs when backward reaches the block's output, before any of its parameters gets a gradient."""
        if torch.is_grad_enabled():
            raise RuntimeError("Backward through a supernet with create_graph=True is not supported.")
        for binding in self.parameters:
            if binding.bounds and binding.tensor.is_leaf and binding.tensor.requires_grad:
                binding.link_grad()


_address = Tensor.data_ptr
_needs_grad = attrgetter("requires_grad")


def _bindings(sub_block: nn.Module, slot: Slot, kind: str) -> Iterator[_Binding]:
    for path, module in sub_block.named_modules():
        holder, whole = getattr(module, kind), getattr(slot.block.get_submodule(path), kind)
        for name, tensor in holder.items():
            if tensor is None:
                continue
            if kind != "_parameters":
                yield _Binding(holder, whole, name)
                continue
            own = slot.own_values(path, name, tensor.shape)
            source: dict[str, Tensor | None] = whole if own is None else getattr(own, kind)
            transforms = slot.transforms(path, name, tensor.shape)
            yield _Transformed(holder, source, name, transforms) if transforms else _Binding(holder, source, name)


class OwnValues(nn.Module):
    """Values of one parameter for one of its widths, in place of the leading part of the widest's."""

    def __init__(self, name: str, values: Tensor) -> None:
        super().__init__()
        self.register_parameter(name, nn.Parameter(values.detach().clone()))


class KernelTransform(nn.Module):
    """Makes a kernel of the next larger one: its centre, flattened, times a matrix (arXiv 1908.09791, section 3.3).

    The matrix belongs to one layer and one size, is shared by all channels and starts as the identity.

    Args:
        size: height and width of the kernel that it makes, or as many sizes as the convolution has dimensions.
    """

    def __init__(self, size: Sequence[int]) -> None:
        super().__init__()
        self.size = tuple(size)
        self.matrix = nn.Parameter(torch.eye(prod(self.size)))

    def forward(self, larger: Tensor) -> Tensor:
        """From `(outputs, inputs, *larger size)` to `(outputs, inputs, *size)`."""
        for bound in slice_bounds(larger.shape, torch.Size((*larger.shape[:2], *self.size))):
            larger = larger.narrow(*bound)
        kernel: Tensor = (larger.flatten(2) @ self.matrix).unflatten(2, self.size)
        return kernel


def _holds(large: Sequence[int], small: Sequence[int]) -> bool:
    """Whether a kernel of one size has one of another size in it."""
    return all(s <= n for n, s in zip(large, small, strict=True))


def _width(whole: torch.Size, part: torch.Size) -> tuple[int, int] | None:
    """The dimension, outputs before inputs, in which a part is narrower, and its width there; None: in neither."""
    return next(((dim, s) for dim, (n, s) in enumerate(zip(whole[:2], part[:2], strict=True)) if s < n), None)


class Slot(nn.Module):
    """One position of the supernet.

    In training mode normalisation uses batch statistics and keeps no running averages, which would
    mix those of different sub-networks; in evaluation mode it uses the slot's (see `calibrate`).

    Args:
        capacity: spec that every architecture's spec for this slot fits in.
    """

    def __init__(self, capacity: LayerSpec) -> None:
        super().__init__()
        self.capacity = capacity
        self.block = build_block(capacity)
        # By `_key`; a width that is not there has the leading part of the widest's.
        self.own = nn.ModuleDict()
        # By `_kernel_key`; a size that is not there is the centre of the largest kernel.
        self.kernels = nn.ModuleDict()
        # Caches, not state: they may be emptied at any time.
        self._sub_blocks: OrderedDict[LayerSpec, _SubBlock] = OrderedDict()
        self._latest: dict[int, tuple[LayerSpec, _SubBlock]] = {}

    def forward(self, x: Tensor, spec: LayerSpec, mask_BT: Tensor | None = None) -> Tensor:
        """Run the block of size `spec` on slices of this slot's weights; `mask_BT` is for blocks that take one."""
        sub_block = self._sub_block(spec)
        sub_block.prepare(self.training)
        masked = mask_BT is not None and sub_block.takes_mask
        out: Tensor = sub_block.module(x, mask_BT) if masked else sub_block.module(x)
        if out.requires_grad:
            out.register_hook(sub_block.link_gradients)
        return out

    def add_own_values(self, spec: LayerSpec, tied: Collection[nn.Parameter]) -> None:
        """Give the parameters of a block of size `spec` values of their own for their widths, which start as they are.

        Args:
            tied: parameters that other slots hold too, which stay shared.
        """
        with torch.device("meta"):
            sub_block = build_block(spec)
        for path, module in sub_block.named_modules():
            widest = self.block.get_submodule(path)
            for name, tensor in module.named_parameters(recurse=False):
                whole = widest.get_parameter(name)
                width = _width(whole.shape, tensor.shape)
                if width is not None and whole not in tied and self.own_values(path, name, tensor.shape) is None:
                    self.own[self._key(path, name, *width)] = OwnValues(name, whole.narrow(width[0], 0, width[1]))
        self._forget()

    def own_values(self, path: str, name: str, shape: torch.Size) -> OwnValues | None:
        """The values of a parameter's width of their own, if they are there.

        Args:
            path: module that holds the parameter.
            shape: the shape that the parameter has in a smaller block.
        """
        if not self.own:
            return None
        width = _width(self.block.get_submodule(path).get_parameter(name).shape, shape)
        if width is None or (key := self._key(path, name, *width)) not in self.own:
            return None
        found = self.own[key]
        assert isinstance(found, OwnValues)
        return found

    @staticmethod
    def _key(path: str, name: str, dim: int, width: int) -> str:
        return f"{path}.{name}".lstrip(".").replace(".", "-") + f"-{dim}-{width}"

    def widths(self) -> Iterator[tuple[nn.Parameter, list[nn.Parameter]]]:
        """Every parameter whose widths have values of their own, with these."""
        wholes = {name.replace(".", "-"): whole for name, whole in self.block.named_parameters()}
        found: dict[str, list[nn.Parameter]] = {}
        for key, values in self.own.items():
            found.setdefault(key.rsplit("-", 2)[0], []).extend(values.parameters())
        for name, parts in found.items():
            yield wholes[name], parts

    def add_transforms(self, spec: LayerSpec) -> None:
        """Let smaller kernels of a block of size `spec` be made by transforms, which start as the identity."""
        with torch.device("meta"):
            sub_block = build_block(spec)
        for name, tensor in sub_block.named_parameters():
            whole = self.block.get_parameter(name)
            key = self._kernel_key(name, tensor.shape[2:])
            if whole.shape[2:] != tensor.shape[2:] and key not in self.kernels:
                self.kernels[key] = KernelTransform(tensor.shape[2:]).to(whole)
        self._forget()

    def transforms(self, path: str, name: str, shape: torch.Size) -> list[KernelTransform]:
        """What makes a kernel from this slot's largest one, one after the other; empty: it is a slice.

        Args:
            path: module that holds the parameter.
            shape: the shape that the parameter has in a smaller block.
        """
        name = f"{path}.{name}".lstrip(".")
        if not self.kernels or self._kernel_key(name, shape[2:]) not in self.kernels:
            return []
        prefix = self._kernel_key(name, ())
        known = [made for key, made in self.kernels.items() if key.startswith(prefix)]
        larger = [made for made in known if isinstance(made, KernelTransform) and _holds(made.size, shape[2:])]
        return sorted(larger, key=lambda made: prod(made.size), reverse=True)

    @staticmethod
    def _kernel_key(name: str, size: Sequence[int]) -> str:
        return f"{name.replace('.', '-')}:{'x'.join(map(str, size))}"

    def add_room(self, tensors: Mapping[str, Tensor]) -> None:
        """Add the values of widths, and the transforms of kernels, that a state dict has and this slot has not."""
        device = next(iter(self.parameters()), torch.empty(0)).device
        for full_name, tensor in tensors.items():
            kind, _, rest = full_name.partition(".")
            key, _, name = rest.partition(".")
            if kind == "own" and key not in self.own:
                self.own[key] = OwnValues(name, tensor).to(device)
            elif kind == "kernels" and key not in self.kernels:
                size = [int(each) for each in key.partition(":")[2].split("x")]
                self.kernels[key] = KernelTransform(size).to(device, tensor.dtype)
            else:
                continue
            self._forget()

    def _forget(self) -> None:
        """Empty the caches."""
        self._sub_blocks.clear()
        self._latest.clear()

    def add_uses(self, spec: LayerSpec, counts: dict[Tensor, Tensor]) -> None:
        """Add 1 to the counts of all elements of this slot's parameters that a block of size `spec` uses."""
        for binding in self._sub_block(spec).parameters:
            count = counts.get(binding.whole)
            if count is None:
                count = counts[binding.whole] = torch.zeros_like(binding.whole, requires_grad=False)
            binding.cut(count).add_(1)

    def sub_block(self, spec: LayerSpec) -> nn.Module:
        """The module that runs in passes of this spec, for hooks; its tensors are this slot's."""
        return self._sub_block(spec).module

    def extract(self, spec: LayerSpec, *, shares: bool = False) -> nn.Module:
        """A block of size `spec` with its own copy of the weights and running statistics.

        Args:
            shares: whether it has this slot's own memory where a weight is used whole.
        """
        self._check(spec)
        # Without storage: fresh weights would take longer to draw than these to copy.
        with torch.device("meta"):
            block = build_block(spec)
        with torch.no_grad():
            for binding in _bindings(block, self, "_parameters"):
                whole = shares and not binding.bounds
                values = binding.whole.detach() if whole else binding.copied()
                parameter = nn.Parameter(values, requires_grad=binding.tensor.requires_grad)
                binding.holder[binding.name] = parameter
            for binding in _bindings(block, self, "_buffers"):
                binding.holder[binding.name] = binding.copied()
        return block.train(self.training)

    def _sub_block(self, spec: LayerSpec) -> _SubBlock:
        # By identity first: hashing and comparing a spec costs more than everything else here.
        known, cached = self._latest.get(id(spec), (None, None))
        if known is spec and cached is not None:
            return cached
        cached = self._sub_blocks.get(spec)
        if cached is None:
            self._check(spec)
            cached = self._sub_blocks[spec] = _SubBlock(spec, self)
        if len(self._sub_blocks) > CACHED_SUB_BLOCKS or len(self._latest) > CACHED_SUB_BLOCKS:
            self._sub_blocks.popitem(last=False)
            self._latest.clear()
        self._latest[id(spec)] = spec, cached
        return cached

    def __getstate__(self) -> dict[str, object]:
        """Copies leave the cache behind: its views belong to this slot."""
        return {**self.__dict__, "_sub_blocks": OrderedDict(), "_latest": {}}

    def _check(self, spec: LayerSpec) -> None:
        if not spec.fits_in(self.capacity):
            raise ValueError(f"{spec} does not fit in this slot's {self.capacity}.")
