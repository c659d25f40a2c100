"""Adjustments: what a user changes of a preset, such as the options of its choices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from search_space.architecture import Option


@dataclass(frozen=True, slots=True)
class Rule:
    """Which options a choice may have.

    Attributes:
        text: in words, as in "must be an odd number from 1 to 15".
        allows: whether an option is one of them.
    """

    text: str
    allows: Callable[[Option], bool]


def whole(least: int = 1, most: int | None = None, multiple: int = 1) -> Rule:
    """Whole numbers from `least` to `most` (None: without end) that are multiples of `multiple`."""
    kind = "a whole number" if multiple == 1 else f"a multiple of {multiple}"
    end = f"of at least {least}" if most is None else f"from {least} to {most}"

    def allows(option: Option) -> bool:
        is_whole = isinstance(option, int) and not isinstance(option, bool)
        return is_whole and option >= least and (most is None or option <= most) and option % multiple == 0  # type: ignore[operator]

    return Rule(f"{kind} {end}", allows)


def odd(most: int) -> Rule:
    """Odd numbers from 1 to `most`: kernels."""
    inside = whole(1, most)
    return Rule(f"an odd number from 1 to {most}", lambda option: inside.allows(option) and int(option) % 2 == 1)


def number(above: float, most: float) -> Rule:
    """Numbers above `above` and up to `most`: ratios."""

    def allows(option: Option) -> bool:
        return isinstance(option, int | float) and not isinstance(option, bool) and above < option <= most

    return Rule(f"a number above {above:g} and up to {most:g}", allows)


def one_of(known: Sequence[Option]) -> Rule:
    """A closed list of options."""
    return Rule(f"one of {', '.join(map(str, known))}", lambda option: option in known)


@dataclass(frozen=True, slots=True)
class Adjustments:
    """What a user changes of a preset.

    Attributes:
        choices: choice name -> its options instead of the preset's; narrower or wider. A name may be a
            pattern with `*`, which stands for every choice that it matches; exact names win.
        classes: number of classes instead of the preset's.
        length: tokens for which the costs of a text network are counted.
    """

    choices: Mapping[str, Sequence[Option]] = field(default_factory=dict)
    classes: int | None = None
    length: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("classes", self.classes), ("length", self.length)):
            if value is not None and value < 1:
                raise ValueError(f"Got {name} {value}; it must be at least 1.")


def space_name(family: str, preset: str, adjustments: Adjustments) -> str:
    """The name of a preset's space. Networks of another number of classes are other networks; narrower or
    wider choices keep the name, because a network that both spaces have is the same network."""
    suffix = "" if adjustments.classes is None else f"/{adjustments.classes}-classes"
    return f"{family}/{preset}{suffix}"


class Options:
    """Hands a family the options of each of its choices, changed as the user wishes.

    A family calls `of` for every choice in turn and `finish` at the end.
    """

    def __init__(self, space: str, adjustments: Adjustments) -> None:
        self._space, self._changes = space, dict(adjustments.choices)
        self._used: set[str] = set()
        self._seen: list[str] = []

    def of(self, choice: str, default: Sequence[Option], rule: Rule | None = None) -> tuple[Option, ...]:
        """The options of a choice, smallest first.

        Args:
            rule: what the family can build; None: the preset's own options and no others.

        Raises:
            ValueError: the user's options are none, or not all of them can be built.
        """
        self._seen.append(choice)
        key = choice if choice in self._changes else self._pattern(choice)
        if key is None:
            return tuple(default)
        self._used.add(key)
        wanted, rule = self._changes[key], rule or one_of(default)
        if isinstance(wanted, str) or not isinstance(wanted, Sequence):
            raise ValueError(f"Choice {choice!r} of {self._space!r} needs a list of options; got {wanted!r}.")
        if not wanted:
            raise ValueError(f"Choice {choice!r} of {self._space!r} has no options; give at least one.")
        wrong = [option for option in wanted if not rule.allows(option)]
        if wrong:
            raise ValueError(f"Option {wrong[0]!r} of choice {choice!r} of {self._space!r} must be {rule.text}.")
        if len(set(wanted)) != len(wanted):
            raise ValueError(f"Choice {choice!r} of {self._space!r} lists an option twice: {list(wanted)}.")
        order = {option: position for position, option in enumerate(default)}
        ranked = all(isinstance(option, int | float) for option in (*wanted, *default))
        return tuple(sorted(wanted) if ranked else sorted(wanted, key=lambda option: order.get(option, len(order))))

    def if_asked(self, choice: str, default: Sequence[Option], rule: Rule | None = None) -> tuple[Option, ...] | None:
        """The options of a choice that a space has only where the user asks for it, by name or pattern; None: not.

        Raises:
            ValueError: as `of`.
        """
        if choice in self._changes or self._pattern(choice) is not None:
            return self.of(choice, default, rule)
        self._seen.append(choice)
        return None

    def _pattern(self, choice: str) -> str | None:
        return next((key for key in self._changes if "*" in key and fnmatchcase(choice, key)), None)

    def finish(self) -> None:
        """Refuse changes that no choice took.

        Raises:
            ValueError: a name or pattern that no choice of the space has.
        """
        unused = [name for name in self._changes if name not in self._used]
        if unused:
            raise ValueError(
                f"Space {self._space!r} has no choice {unused[0]!r}. Its choices: {', '.join(self._seen)}."
            )
