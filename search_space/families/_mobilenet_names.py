"""What torchvision and timm call the tensors of the published mobile networks."""

from __future__ import annotations

from dataclasses import dataclass

from search_space.families._names import Table


@dataclass(frozen=True, slots=True)
class TimmNames:
    """timm's: blocks by stage, layers by what they do.

    Attributes:
        mixes: whether the head has a linear layer between pooling and classifier (MobileNetV3).
    """

    mixes: bool

    def stem(self) -> Table:
        """Names of the first convolution."""
        return {"conv_stem": ("conv",), "bn1": ("norm",)}

    def block(self, stage: int, block: int, number: int, expand: bool, squeeze: bool) -> Table:
        """Names of a block: `stage`, `block` within the stage and `number` among all blocks count from 1."""
        disk = f"blocks.{stage - 1}.{block - 1}"
        convolutions = [("conv_pw", "expand")] if expand else []
        convolutions += [("conv_dw", "depthwise"), ("conv_pwl" if expand else "conv_pw", "project")]
        names: dict[str, tuple[str, ...]] = {
            f"{disk}.se.conv_reduce": ("squeeze",),
            f"{disk}.se.conv_expand": ("excite",),
        }
        for i, (theirs, own) in enumerate(convolutions, 1):
            names |= {f"{disk}.{theirs}": (own,), f"{disk}.bn{i}": (f"{own}_norm",)}
        return names

    def top(self, stages: int, blocks: int) -> Table:
        """Names of the last convolution."""
        if self.mixes:
            return {f"blocks.{stages}.0.conv": ("conv",), f"blocks.{stages}.0.bn1": ("norm",)}
        return {"conv_head": ("conv",), "bn2": ("norm",)}

    def head(self) -> Table:
        """Names of the linear layers."""
        return {"conv_head": ("mix",), "classifier": ("classifier",)}


@dataclass(frozen=True, slots=True)
class TorchvisionNames:
    """torchvision's: everything by its place in a sequence.

    Attributes:
        mixes: whether the head has a linear layer between pooling and classifier (MobileNetV3).
        staged: whether stages are sequences of their own (EfficientNet).
    """

    mixes: bool
    staged: bool

    def stem(self) -> Table:
        """Names of the first convolution."""
        return _sequence("features.0", "conv", "norm")

    def block(self, stage: int, block: int, number: int, expand: bool, squeeze: bool) -> Table:
        """Names of a block: `stage`, `block` within the stage and `number` among all blocks count from 1."""
        # MobileNetV2's last convolution and its norm stand in the sequence by themselves.
        plain = not self.staged and not self.mixes
        disk = f"features.{stage}.{block - 1}" if self.staged else f"features.{number}"
        disk += ".conv" if plain else ".block"
        names, place = dict[str, tuple[str, ...]](), 0
        for own in ("expand", "depthwise") if expand else ("depthwise",):
            names |= _sequence(f"{disk}.{place}", own, f"{own}_norm")
            place += 1
        if squeeze:
            names |= {f"{disk}.{place}.fc1": ("squeeze",), f"{disk}.{place}.fc2": ("excite",)}
            place += 1
        if plain:
            return {**names, f"{disk}.{place}": ("project",), f"{disk}.{place + 1}": ("project_norm",)}
        return {**names, **_sequence(f"{disk}.{place}", "project", "project_norm")}

    def top(self, stages: int, blocks: int) -> Table:
        """Names of the last convolution."""
        return _sequence(f"features.{(stages if self.staged else blocks) + 1}", "conv", "norm")

    def head(self) -> Table:
        """Names of the linear layers."""
        if self.mixes:
            return {"classifier.0": ("mix",), "classifier.3": ("classifier",)}
        return {"classifier.1": ("classifier",)}


def _sequence(disk: str, convolution: str, norm: str) -> Table:
    return {f"{disk}.0": (convolution,), f"{disk}.1": (norm,)}
