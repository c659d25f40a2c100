"""LearnedPredictor: several ways to learn one metric, of which validation chooses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from plugins.kinds import MODELS
from plugins.registry import UnknownPluginError
from predictors.columns import Source
from predictors.model import Inputs, Model, View
from predictors.predictor import Predictor
from predictors.scales import SCALES, Scale
from search_space.architecture import Architecture
from search_space.space import SearchSpace

FOLDS = 5
# With fewer examples validation is a lottery, and the first candidate is taken.
CHOOSE_FROM = 30


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model of `predictors/models`, on a scale of `SCALES`."""

    model: str
    scale: str

    def __str__(self) -> str:
        return f"{self.model} ({self.scale})"


class LearnedPredictor(Predictor):
    """Takes the first candidate unless validation finds a clearly better one.

    Clearly: over 5 folds, its error is smaller by more than a standard error of the difference. So a lucky fold does
    not bring a worse model in. Where all values are above 0 and `relative` says so, errors count in proportion to the
    values, and at most as much as the value: a network of almost no latency does not decide.

    Args:
        candidates: best guess first.
        costs, given, price: sources of columns, see `View`.
        relative: whether an error counts in proportion to the value.
    """

    def __init__(
        self,
        space: SearchSpace,
        candidates: Sequence[Candidate],
        *,
        costs: Sequence[Source] = (),
        given: Sequence[Source] = (),
        price: Source | None = None,
        relative: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(space, seed)
        self.candidates = tuple(candidates)
        self._costs, self._given, self._price = tuple(costs), tuple(given), price
        self._relative = relative
        # How large each candidate's error was in the last validation; empty if there was none.
        self.errors: dict[Candidate, float] = {}
        self.chosen: Candidate | None = None

    def _fit(self, architectures: Sequence[Architecture], values: np.ndarray) -> None:
        self._view = View(self.space, self._costs, self._given, self._price, architectures)
        inputs = self._view.of(architectures)
        refusals = {candidate: _refusal(candidate, values) for candidate in self.candidates}
        usable = [candidate for candidate, refusal in refusals.items() if refusal is None]
        if not usable:
            raise ValueError(f"No model can learn from these examples: {'; '.join(filter(None, refusals.values()))}.")
        self.chosen, self.errors = self._choose(usable, inputs, values)
        self._learner = _Learner(self.chosen, self.seed)
        self._learner.fit(inputs, values, spread=True)

    def _predict(self, architectures: Sequence[Architecture]) -> tuple[np.ndarray, np.ndarray]:
        return self._learner.predict(self._view.of(architectures))

    def _choose(
        self, usable: Sequence[Candidate], inputs: Inputs, values: np.ndarray
    ) -> tuple[Candidate, dict[Candidate, float]]:
        if len(usable) == 1 or len(values) < CHOOSE_FROM:
            return usable[0], {}
        unit = values if self._relative and (values > 0).all() else None
        order = np.random.default_rng(self.seed).permutation(len(values))
        errors = {candidate: np.zeros(len(values)) for candidate in usable}
        for fold in range(FOLDS):
            held = np.sort(order[fold::FOLDS])
            rest = np.sort(np.delete(order, np.s_[fold::FOLDS]))
            seen, unseen = inputs.rows(rest), inputs.rows(held)
            for candidate in usable:
                learner = _Learner(candidate, self.seed)
                learner.fit(seen, values[rest], spread=False)
                off = np.abs(learner.predict(unseen)[0] - values[held])
                errors[candidate][held] = off if unit is None else np.minimum(off / unit[held], 1.0)
        best = usable[0]
        for candidate in sorted(usable[1:], key=lambda c: float(errors[c].mean())):
            gap = errors[best] - errors[candidate]
            if gap.mean() > gap.std(ddof=1) / np.sqrt(len(gap)):
                best = candidate
                break
        return best, {candidate: float(of.mean()) for candidate, of in errors.items()}


class _Learner:
    """One candidate at work."""

    def __init__(self, candidate: Candidate, seed: int) -> None:
        made: Model = MODELS.load(candidate.model).MODEL(seed)
        self._model = made
        self._make_scale = SCALES[candidate.scale]
        self._scale: Scale

    def fit(self, inputs: Inputs, values: np.ndarray, *, spread: bool) -> None:
        """Learn from examples; without `spread`, means alone."""
        if not self._model.in_units:
            self._scale = self._make_scale(values)
            values = self._scale.to(values)
        self._model.fit(inputs, values)
        if spread:
            self._model.learn_spread(inputs, values)

    def predict(self, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
        mean, std = self._model.predict(inputs)
        return (mean, std) if self._model.in_units else self._scale.back(mean, std)


def only(model: str, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The candidates of one model.

    Raises:
        UnknownPluginError: no such model; the message lists those that there are.
    """
    found = tuple(candidate for candidate in candidates if candidate.model == model)
    if not found:
        raise UnknownPluginError("model", model, tuple(sorted({candidate.model for candidate in candidates})))
    return found


def _refusal(candidate: Candidate, values: np.ndarray) -> str | None:
    """Why a candidate cannot learn from such examples, or from four fifths of them; None if it can."""
    model: type[Model] = MODELS.load(candidate.model).MODEL
    if len(values) - len(values) // FOLDS < model.needs:
        return f"{candidate} needs {-(-model.needs * FOLDS // (FOLDS - 1))} examples; got {len(values)}"
    if (candidate.scale == "log" or model.in_units) and not (values > 0).all():
        return f"{candidate} needs values above 0; got {values.min()}"
    return None
