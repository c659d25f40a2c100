"""Searches behind one door: ask for parameters, tell scores. Each is used as its own documentation shows.

Peers need packages that Winnow does not: `make peers` installs what installs into `.venv-peers`. `missing` says what is
not there and why.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from benchmarks.search_tasks import Scores, Task
from search.algorithms import make_algorithm
from search.evaluation import Evaluation
from search.objectives import Constraint, Objective
from winnow.optuna import space_of

Params = dict[str, Any]


class Peer(Protocol):
    """A search at work."""

    def ask(self, count: int) -> list[Params]:
        """What to evaluate next; `count` of them, or a generation, whatever is asked."""

    def tell(self, told: Sequence[tuple[Params, Scores]]) -> None:
        """Scores of what was asked last, in order."""


class Winnow:
    """`search.algorithms` on the space that `winnow.optuna` makes of the distributions."""

    def __init__(self, task: Task, seed: int, evaluations: int, batch: int) -> None:
        self._axes = space_of(task.distributions)
        self._algorithm = make_algorithm(
            "winnow",
            self._axes.space,
            [Objective(f"cost{i}") for i in range(task.num_costs)],
            seed=seed,
            evaluations=evaluations,
            constraints=[Constraint(f"limit{i}", 0.0) for i in range(task.num_limits)],
            batch=batch,
        )

    def ask(self, count: int) -> list[Params]:
        self._asked = self._algorithm.ask()
        return [self._axes.params(architecture) for architecture in self._asked]

    def tell(self, told: Sequence[tuple[Params, Scores]]) -> None:
        self._algorithm.tell(
            [
                Evaluation(
                    architecture,
                    {f"cost{i}": cost for i, cost in enumerate(scores.costs)}
                    | {f"limit{i}": limit for i, limit in enumerate(scores.limits)},
                )
                for architecture, (_, scores) in zip(self._asked, told, strict=True)
            ]
        )


class Optuna:
    """A study of optuna's."""

    def __init__(self, task: Task, sampler: optuna.samplers.BaseSampler) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._distributions = dict(task.distributions)
        self._study = optuna.create_study(directions=["minimize"] * task.num_costs, sampler=sampler)

    def ask(self, count: int) -> list[Params]:
        self._trials = [self._study.ask(self._distributions) for _ in range(count)]
        return [trial.params for trial in self._trials]

    def tell(self, told: Sequence[tuple[Params, Scores]]) -> None:
        for trial, (_, scores) in zip(self._trials, told, strict=True):
            for i, limit in enumerate(scores.limits):
                trial.set_constraint(f"limit{i}", limit)
            self._study.tell(trial, list(scores.costs))


class Pymoo:
    """pymoo's genetic algorithm for mixed variables with NSGA-II's survival, twenty in a generation."""

    def __init__(self, task: Task, seed: int) -> None:
        from pymoo.algorithms.moo.nsga2 import RankAndCrowding
        from pymoo.core.mixed import MixedVariableGA
        from pymoo.core.problem import Problem
        from pymoo.core.variable import Choice, Integer, Real

        def variable(of: BaseDistribution) -> Any:
            if isinstance(of, CategoricalDistribution):
                return Choice(options=list(of.choices))
            bounds = (of.low, of.high)  # type: ignore[attr-defined]
            return Integer(bounds=bounds) if isinstance(of, IntDistribution) else Real(bounds=bounds)

        self._problem = Problem(
            vars={name: variable(of) for name, of in task.distributions.items()},
            n_obj=task.num_costs,
            n_ieq_constr=task.num_limits,
        )
        self._algorithm = MixedVariableGA(pop_size=20, survival=RankAndCrowding())
        self._algorithm.setup(self._problem, termination=("n_gen", 10_000), seed=seed, verbose=False)

    def ask(self, count: int) -> list[Params]:
        self._asked = self._algorithm.ask()
        return [_plain(params) for params in self._asked.get("X")]

    def tell(self, told: Sequence[tuple[Params, Scores]]) -> None:
        from pymoo.core.evaluator import Evaluator
        from pymoo.problems.static import StaticProblem

        given = {"F": np.array([scores.costs for _, scores in told])}
        if told[0][1].limits:
            given["G"] = np.array([scores.limits for _, scores in told])
        Evaluator().eval(StaticProblem(self._problem, **given), self._asked)
        self._algorithm.tell(infills=self._asked)


class BoTorch:
    """qLogNEHVI on Gaussian processes, as BoTorch's tutorial of multi-objective optimization.

    Numbers are scaled to [0, 1] and rounded after the choice; categories are one-hot, and then the best of 1,000 random
    points and all neighbours of the front is taken, none twice.
    """

    STARTS = 10

    def __init__(self, task: Task, seed: int) -> None:
        import torch
        from botorch.acquisition.multi_objective import logei

        torch.set_num_threads(1)
        torch.manual_seed(seed)
        # BoTorch compiles a part of this when it is first used, for minutes of a busy core; its own form in Python
        # gives the same numbers.
        logei._load_attempted = True
        self._rng = np.random.default_rng(seed)
        self._seed, self._task = seed, task
        self._names, self._kinds = zip(*task.distributions.items(), strict=True)
        self._discrete = all(isinstance(kind, CategoricalDistribution) for kind in self._kinds)
        self._params: list[Params] = []
        self._scores: list[Scores] = []

    def ask(self, count: int) -> list[Params]:
        if len(self._params) < self.STARTS:
            return self._first(min(count, self.STARTS - len(self._params)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self._best(count)

    def tell(self, told: Sequence[tuple[Params, Scores]]) -> None:
        self._params += [params for params, _ in told]
        self._scores += [scores for _, scores in told]

    def _first(self, count: int) -> list[Params]:
        from scipy.stats import qmc

        draws = qmc.Sobol(len(self._names), rng=self._seed).random_base2(4)[len(self._params) :][:count]
        return [self._decoded_shares(row) for row in draws]

    def _decoded_shares(self, row: np.ndarray) -> Params:
        """Values from shares of each range; categories too."""
        found: Params = {}
        for name, kind, share in zip(self._names, self._kinds, row.tolist(), strict=True):
            if isinstance(kind, CategoricalDistribution):
                found[name] = kind.choices[min(int(share * len(kind.choices)), len(kind.choices) - 1)]
            elif isinstance(kind, IntDistribution):
                found[name] = min(int(kind.low + share * (kind.high - kind.low + 1)), kind.high)
            else:
                found[name] = kind.low + share * (kind.high - kind.low)
        return found

    def _encoded(self, params: Sequence[Params]) -> np.ndarray:
        columns = []
        for name, kind in zip(self._names, self._kinds, strict=True):
            values = [each[name] for each in params]
            if isinstance(kind, CategoricalDistribution):
                columns.append(np.eye(len(kind.choices))[[kind.choices.index(value) for value in values]])
            elif isinstance(kind, IntDistribution):
                columns.append((np.array(values, float)[:, None] - kind.low + 0.5) / (kind.high - kind.low + 1))
            else:
                columns.append((np.array(values, float)[:, None] - kind.low) / (kind.high - kind.low))
        return np.concatenate(columns, axis=1)

    def _best(self, count: int) -> list[Params]:
        import torch
        from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
        from botorch.acquisition.multi_objective.objective import IdentityMCMultiOutputObjective
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import ModelListGP, SingleTaskGP
        from botorch.models.transforms import Standardize
        from botorch.optim import optimize_acqf, optimize_acqf_discrete
        from botorch.sampling import SobolQMCNormalSampler
        from botorch.utils.multi_objective import infer_reference_point
        from botorch.utils.multi_objective.pareto import is_non_dominated
        from gpytorch.mlls.sum_marginal_log_likelihood import SumMarginalLogLikelihood

        num = self._task.num_costs
        x = torch.tensor(self._encoded(self._params), dtype=torch.double)
        y = torch.tensor([[*(-c for c in s.costs), *s.limits] for s in self._scores], dtype=torch.double)
        model = ModelListGP(
            *(SingleTaskGP(x, y[:, i : i + 1], outcome_transform=Standardize(1)) for i in range(y.shape[1]))
        )
        fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
        kept = y[(y[:, num:] <= 0).all(dim=1)][:, :num]
        pareto = kept[is_non_dominated(kept)] if len(kept) else y[:, :num]
        acquisition = qLogNoisyExpectedHypervolumeImprovement(
            model=model,
            ref_point=infer_reference_point(pareto).tolist(),
            X_baseline=x,
            sampler=SobolQMCNormalSampler(torch.Size([64]), seed=self._seed),
            prune_baseline=True,
            objective=IdentityMCMultiOutputObjective(outcomes=list(range(num))),
            constraints=[lambda z, i=i: z[..., i] for i in range(num, y.shape[1])] or None,
        )
        if self._discrete:
            pool = self._pool(pareto.numpy(), y[:, :num].numpy())
            choices = torch.tensor(self._encoded(pool), dtype=torch.double)
            found, _ = optimize_acqf_discrete(acquisition, q=count, choices=choices, unique=True)
            rows = [int((choices - row).abs().sum(dim=1).argmin()) for row in found]
            return [pool[row] for row in rows]
        bounds = torch.stack([torch.zeros(x.shape[1]), torch.ones(x.shape[1])]).double()
        found, _ = optimize_acqf(
            acquisition,
            bounds=bounds,
            q=count,
            num_restarts=4,
            raw_samples=128,
            sequential=True,
            options={"batch_limit": 4, "maxiter": 100},
        )
        return [self._decoded_shares(row) for row in found.detach().numpy()]

    def _pool(self, pareto: np.ndarray, costs: np.ndarray) -> list[Params]:
        """New points: random ones, and the neighbours of the front."""
        best = [p for p, c in zip(self._params, costs, strict=True) if (pareto == c).all(axis=1).any()]
        near = [
            {**params, name: option}
            for params in best
            for name, kind in zip(self._names, self._kinds, strict=True)
            for option in kind.choices
        ]
        drawn = [self._decoded_shares(row) for row in self._rng.random((1000, len(self._names)))]
        known = {tuple(params.values()) for params in self._params}
        return list({tuple(p.values()): p for p in [*near, *drawn] if tuple(p.values()) not in known}.values())


class Smac:
    """SMAC3's facade for hyper-parameters with ParEGO; it has no limits."""

    def __init__(self, task: Task, seed: int, evaluations: int) -> None:
        import tempfile

        from ConfigSpace import Categorical, ConfigurationSpace, Float, Integer
        from smac import HyperparameterOptimizationFacade, Scenario
        from smac.multi_objective.parego import ParEGO

        def parameter(name: str, of: BaseDistribution) -> Any:
            if isinstance(of, CategoricalDistribution):
                return Categorical(name, list(of.choices))
            bounds = (of.low, of.high)  # type: ignore[attr-defined]
            return Integer(name, bounds) if isinstance(of, IntDistribution) else Float(name, bounds)

        space = ConfigurationSpace(seed=seed)
        space.add(*(parameter(name, of) for name, of in task.distributions.items()))
        scenario = Scenario(
            space,
            objectives=[f"cost{i}" for i in range(task.num_costs)],
            deterministic=True,
            n_trials=evaluations,
            seed=seed,
            output_directory=tempfile.mkdtemp(),
        )
        self._smac = HyperparameterOptimizationFacade(
            scenario, lambda config, seed: 0.0, multi_objective_algorithm=ParEGO(scenario), logging_level=50
        )

    def ask(self, count: int) -> list[Params]:
        self._asked = [self._smac.ask() for _ in range(count)]
        return [_plain(dict(info.config)) for info in self._asked]

    def tell(self, told: Sequence[tuple[Params, Scores]]) -> None:
        from smac.runhistory.dataclasses import TrialValue

        for info, (_, scores) in zip(self._asked, told, strict=True):
            self._smac.tell(info, TrialValue(cost=list(scores.costs)))


class Hebo:
    """HEBO's general optimizer (MACE for several objectives)."""

    def __init__(self, task: Task, seed: int) -> None:
        import torch
        from hebo.design_space.design_space import DesignSpace
        from hebo.optimizers.general import GeneralBO

        torch.set_num_threads(1)
        np.random.seed(seed)
        torch.manual_seed(seed)

        def parameter(name: str, of: BaseDistribution) -> dict[str, Any]:
            if isinstance(of, CategoricalDistribution):
                return {"name": name, "type": "cat", "categories": list(of.choices)}
            kind = "int" if isinstance(of, IntDistribution) else "num"
            return {"name": name, "type": kind, "lb": of.low, "ub": of.high}  # type: ignore[attr-defined]

        space = DesignSpace().parse([parameter(name, of) for name, of in task.distributions.items()])
        self._optimizer = GeneralBO(space, num_obj=task.num_costs, num_constr=task.num_limits, rand_sample=10)

    def ask(self, count: int) -> list[Params]:
        self._asked = self._optimizer.suggest(n_suggestions=count)
        return [_plain(row) for row in self._asked.to_dict("records")]

    def tell(self, told: Sequence[tuple[Params, Scores]]) -> None:
        self._optimizer.observe(self._asked, np.array([[*s.costs, *s.limits] for _, s in told]))


def _plain(params: Mapping[str, Any]) -> Params:
    """Numbers of numpy's as Python's."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in params.items()}


def _sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    samplers: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
        "random": lambda: optuna.samplers.RandomSampler(seed=seed),
        "optuna-tpe": lambda: optuna.samplers.TPESampler(seed=seed),
        "optuna-gp": lambda: optuna.samplers.GPSampler(seed=seed),
        "optuna-nsga2": lambda: optuna.samplers.NSGAIISampler(seed=seed),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return samplers[name]()


# What each needs; those that know no limits are left out where there are some.
NEEDS = {
    "winnow": "",
    "random": "",
    "optuna-tpe": "",
    "optuna-nsga2": "",
    "pymoo-nsga2": "pymoo",
    "optuna-gp": "torch",
    "botorch": "botorch",
    "smac": "smac",
    "hebo": "hebo",
}
NO_LIMITS = ("smac",)


def missing(name: str) -> str | None:
    """Why a peer cannot run here; None if it can."""
    try:
        if NEEDS[name]:
            importlib.import_module(NEEDS[name])
    except Exception as problem:  # a package may fail to import for any reason
        return f"{type(problem).__name__}: {problem}"
    return None


def make_peer(name: str, task: Task, seed: int, evaluations: int, batch: int) -> Peer:
    """A search by its name."""
    if name == "winnow":
        return Winnow(task, seed, evaluations, batch)
    if name == "pymoo-nsga2":
        return Pymoo(task, seed)
    if name == "botorch":
        return BoTorch(task, seed)
    if name == "smac":
        return Smac(task, seed, evaluations)
    if name == "hebo":
        return Hebo(task, seed)
    return Optuna(task, _sampler(name, seed))


def run(name: str, task: Task, seed: int, evaluations: int, batch: int) -> list[Scores]:
    """True scores in the order in which a search asked for them; what is asked again counts again."""
    peer, noise = make_peer(name, task, seed, evaluations, batch), np.random.default_rng([seed, 7])
    found: list[Scores] = []
    while len(found) < evaluations:
        asked = peer.ask(min(batch, evaluations - len(found)))
        if not asked:
            break
        scores = [task.score(params) for params in asked]
        peer.tell([(params, task.told(each, noise)) for params, each in zip(asked, scores, strict=True)])
        found += scores
    return found[:evaluations]
