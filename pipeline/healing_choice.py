"""What is healed, and on what: the networks that a job names or has found, and the data that they learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from job.healing_spec import HealingSpec
from pipeline.healed_front import Candidate, candidates
from pipeline.inventory import read_of
from pipeline.materials import decoding_of, prepare_data
from pipeline.samples import described
from pipeline.workshop import JobFailed, Workshop
from service.store.records import FidelityReport, FrontRecord
from supernet.data import Dataset


def learned_from(shop: Workshop, data: Dataset) -> Dataset:
    """Named data, as the job's networks eat them.

    Raises:
        JobFailed: they cannot be used, or they have other classes or another vocabulary.
    """
    part, spec = shop.spec.healing, shop.spec
    assert part is not None
    assert part.data is not None
    training = spec.training.model_copy(update={"batch_size": 2})
    asked = spec.model_copy(update={"data": part.data, "training": training})
    named = prepare_data(asked, shop.space, shop.device, decoding_of(shop.settings))
    for fact, what in (("vocab", "vocabulary"), ("labels", "classes")):
        mine, theirs = data.preprocessing.get(fact), named.preprocessing.get(fact)
        if mine != theirs and (fact == "vocab" or part.labels):
            raise JobFailed(
                f"The {what} of healing.data ({named.name}) are not those of the job's data: {theirs} instead of "
                f"{mine}. The networks and their parent know the job's; heal with data that have them."
            )
    shop.reporter.record(read_of(asked, named, described(named)))
    standardisation = data.train.standardisation
    if standardisation is None:
        return named
    return replace(named, train=replace(named.train, standardisation=standardisation))


def chosen_networks(shop: Workshop, part: HealingSpec, front: FrontRecord) -> list[Candidate]:
    """The networks to heal, in their order on the front; the parent itself is none.

    Where the search has chosen networks by healing them a little, the front and its knee are those of the highest rung.

    Raises:
        JobFailed: one that was named was not evaluated.
    """
    known = candidates(shop)
    largest = shop.space.largest().id
    if not isinstance(part.networks, str):
        if missing := [name for name in part.networks if name not in known]:
            raise JobFailed(f"The job has evaluated no network {missing[0]!r}, so it cannot be healed.")
        return [known[name] for name in dict.fromkeys(part.networks) if name != largest]
    points, best = tuple(point.architecture_id for point in front.points), front.knee
    for report in shop.reporter.records(FidelityReport):
        beyond = {one.architecture_id for one in front.beyond}  # of the limits, as measured
        climbed = tuple(name for name in report.points if name not in beyond)
        if climbed:
            points, best = climbed, report.knee if report.knee in climbed else climbed[len(climbed) // 2]
    on_front = [name for name in points if name != largest]
    knee = best if best in on_front else None
    if part.networks == "knee" and knee is not None:
        return [known[knee]]
    if part.networks == "knee" or not on_front:
        which = "The recommended network" if part.networks == "knee" else "The only network of the front"
        shop.reporter.tell("info", f"{which} is the parent itself, so there is nothing to heal.")
        return []
    return [known[name] for name in spread(on_front, part.most, knee)]


def spread(names: Sequence[str], most: int, knee: str | None) -> list[str]:
    """At most so many names, as evenly over their order as can be, both ends and the knee among them as far as there is
    room; one alone is the knee."""
    if len(names) <= most:
        return list(names)
    places = {round(number * (len(names) - 1) / max(1, most - 1)) for number in range(most)}
    if knee is not None and (at := names.index(knee)) not in places:
        inner = places - {0, len(names) - 1} if most > 2 else places
        places = (places - {min(inner, key=lambda place: (abs(place - at), place))}) | {at}
    return [names[place] for place in sorted(places)]
