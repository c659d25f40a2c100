"""What a helper does: it heals one network of a job with the data, the supernet and the parent that the job has."""

from __future__ import annotations

from pipeline import samples
from pipeline.exams import exams_of, held_out_exams_of
from pipeline.healing import Healer
from pipeline.materials import decoding_of, prepare_data
from pipeline.workshop import Workshop
from supernet.flat import load_tensors
from supernet.network import Supernet


def heal_for(shop: Workshop, name: str, worker: str) -> None:
    """Heal one network, from the start or from where it was left.

    Args:
        worker: who heals it, as the job says.

    Raises:
        OtherData: this worker would not heal what the job would.
        Interrupted: the job is to be paused or has ended, or this worker leaves; what was done is stored.
        JobFailed, ArtifactDamaged, DiskFull, Unavailable: it cannot begin, or cannot store what it has done.
    """
    spec, reporter = shop.spec, shop.reporter
    data = prepare_data(spec, shop.space, shop.device, decoding_of(shop.settings, progress=lambda _: reporter.listen()))
    kept = next(iter(reporter.artifacts(samples.KIND)), None)
    samples.check_same(shop.artifacts, kept, data)
    asked = spec, shop.space, data, shop.settings.tasks_dir
    healer = Healer(shop, data, exams_of(*asked), held_out_exams_of(*asked))
    supernet = Supernet(shop.space).to(shop.device)
    load_tensors(supernet, shop.files.load(reporter.artifacts("supernet")[0]))
    reporter.tell("info", f"Worker {worker} helps: it heals {name}.")
    healer.help_with(name, supernet)
