"""How the papers round numbers of channels, and what that means for choices."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from search_space.architecture import Option


def make_divisible(channels: float, multiple: int = 8) -> int:
    """The multiple of `multiple` that is nearest to `channels` (the upper one of two), at least `multiple`.

    It is one step more where it would be below 0.9 of `channels` (MobileNetV2, 1801.04381, as published networks have
    it).
    """
    rounded = max(multiple, int(channels + multiple / 2) // multiple * multiple)
    return rounded + multiple if rounded < 0.9 * channels else rounded


def refuse_twins(choice: str, options: Sequence[Option], channels: Callable[[Option], object], where: str = "") -> None:
    """Refuse options that rounding makes one: two values for one network would give it two ids.

    Args:
        channels: from an option to the numbers of channels that it stands for.
        where: the circumstances, for the message.

    Raises:
        ValueError: two options stand for the same channels.
    """
    seen: dict[object, Option] = {}
    for option in options:
        rounded = channels(option)
        if rounded in seen:
            raise ValueError(
                f"Options {seen[rounded]!r} and {option!r} of choice {choice!r}{where} both give {rounded} channels "
                f"after rounding, so they are one network; keep one of them."
            )
        seen[rounded] = option
