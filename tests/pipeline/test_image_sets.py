"""Jobs on images that do not fit in memory: the same numbers, progress, pausing, and a full disk."""

from __future__ import annotations

import pytest
import torch

from job.spec import JobSpec
from pipeline import stages as pipeline
from pipeline.artifacts import DiskFull
from pipeline.materials import decoding_of, prepare_data
from pipeline.replica import RunOver, _goes_on
from pipeline.reporter import Interrupted
from proxyless.held_out import carve
from service import jobs
from service.store import leases, queries
from service.store.models import Job
from supernet.data import decoding as decoding_module
from supernet.data.on_disk import ImagesOnDisk
from supernet.evaluator import Evaluator
from supernet.network import Supernet
from tests.pipeline.bench import MemoryReporter, train_supernet, workshop
from tests.tiny_data import grey_images, picture

TRAINING = {"epochs": 2, "batch_size": 32, "options": {"num_random": 1}}


def shop_of(folder, reporter, path, storage="auto", **data):
    parts = {"training": TRAINING, "search": {"calibration_images": 40}}
    return workshop(folder, reporter, data={"source": "images", **path, "storage": storage, **data}, **parts)


def data_of(shop):
    decoding = decoding_of(shop.settings, tell=lambda text: shop.reporter.tell("info", text))
    return prepare_data(shop.spec, shop.space, shop.device, decoding)


def test_a_paused_training_from_the_disk_ends_where_one_from_memory_does(tmp_path):
    options = grey_images(tmp_path / "source")
    shop = shop_of(tmp_path / "memory", MemoryReporter(), options)
    expected = train_supernet(shop, data_of(shop)).state_dict()
    shop = shop_of(tmp_path / "disk", MemoryReporter(interrupt_at=2), options, "disk")
    with pytest.raises(Interrupted):
        train_supernet(shop, data_of(shop))
    data = data_of(shop)
    assert isinstance(data.train.stored, ImagesOnDisk)
    resumed = train_supernet(shop, data).state_dict()
    assert "Resumed at step 2 of 4." in shop.reporter.messages
    assert all(torch.equal(resumed[name], value) for name, value in expected.items())


@pytest.mark.thorough
def test_evaluations_and_held_out_examples_are_those_of_memory(tmp_path):
    options, found = grey_images(tmp_path / "source"), []
    for storage in ("memory", "disk"):
        shop = shop_of(tmp_path, MemoryReporter(), options, storage)
        data = data_of(shop)
        torch.manual_seed(0)
        evaluator = Evaluator(Supernet(shop.space), data, 40, 0, aligned=True)
        (evaluation,) = evaluator.evaluate([shop.space.largest()])
        rest, held = carve(data.train, 0.2, 0, "these")
        found.append((evaluation.metrics, rest.x.tolist(), held.x.tolist(), held.y.tolist()))
    assert found[0] == found[1]
    assert "label_gradient_alignment" in found[0][0]


def test_a_job_that_is_paused_while_images_are_decoded_leaves_nothing_and_says_what_it_did(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding_module, "MEMORY_SHARE", 0.0)
    reporter = MemoryReporter(interrupt_at=3)
    shop = shop_of(tmp_path, reporter, grey_images(tmp_path / "source"))
    with pytest.raises(Interrupted):
        pipeline.run(shop, pipeline.search_supernet)
    (said,) = reporter.messages
    assert said.startswith(f"120 images of source are decoded once into {tmp_path / 'datasets'} (")
    assert not [path for path in shop.settings.datasets_dir.iterdir() if path.is_dir()]


def test_a_disk_that_is_full_pauses_the_job(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("usage", (), {"free": 100}))
    shop = shop_of(tmp_path, MemoryReporter(), grey_images(tmp_path / "source"), "disk")
    with pytest.raises(DiskFull, match=r"^No room on the disk of .* they take 10,560 bytes and 100 are free\.$"):
        data_of(shop)


def test_another_process_of_a_training_stops_decoding_when_the_job_does(database, settings):
    with database.transaction() as session:
        job, _ = jobs.submit(session, JobSpec.model_validate({}), None)
        job_id = job.id
        lease = leases.claim(session, Job, job_id, "a", 60)
        assert lease is not None
        queries.set_running(session, queries.fenced_job(session, job_id, lease.epoch))
    often = settings.model_copy(update={"poll_seconds": 0.0})
    goes_on = _goes_on(database, often, job_id, lease.epoch)
    goes_on(0.1)
    with pytest.raises(RunOver):
        _goes_on(database, often, job_id, lease.epoch + 1)(0.2)
    with database.transaction() as session:
        jobs.pause(session, job_id)
    with pytest.raises(RunOver, match="is not running"):
        goes_on(0.2)


@pytest.mark.thorough
def test_a_paused_training_on_crops_of_whole_pictures_ends_where_one_that_was_not_paused_does(tmp_path):
    options = grey_images(tmp_path / "source")
    for file in (tmp_path / "source").rglob("*.png"):
        picture(int(file.parent.name[-1]) % 3, int(file.stem), (30, 20)).save(file)
    training = {**TRAINING, "augmentation": {"resized_crop": 0.2}}
    trained = []
    for interrupt_at in (None, 2):
        shop = workshop(
            tmp_path / str(interrupt_at),
            MemoryReporter(interrupt_at=interrupt_at),
            data={"source": "images", **options},
            training=training,
            search={"calibration_images": 40},
        )
        if interrupt_at is not None:
            with pytest.raises(Interrupted):
                train_supernet(shop, data_of(shop))
        trained.append(train_supernet(shop, data_of(shop)).state_dict())
    assert all(torch.equal(trained[0][name], value) for name, value in trained[1].items())
