"""How runners are started: alone, by torchrun on one machine, or as one machine's part of a training on several."""

import sys

import pytest

from service.settings import Settings
from service.store.models import Job
from workers.launch import Joined, Shape, command

SETTINGS = Settings(rendezvous="10.0.0.7:29500")
RUNNER = ["-m", "workers.runner", "job", "j", "3"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


def test_one_process_needs_no_launcher():
    assert command(Shape(), SETTINGS, "j", 3) == [sys.executable, *RUNNER]


def test_processes_of_one_machine_find_each_other():
    assert command(Shape(1, 4), SETTINGS, "j", 3) == [*TORCHRUN, "--nproc-per-node=4", "--standalone", *RUNNER]


def test_machines_meet_at_the_first_one():
    where = ["--nnodes=2", "--node-rank=1", "--master-addr=10.0.0.7", "--master-port=29500"]
    assert command(Shape(2, 4), SETTINGS, "j", 3, rank=1) == [*TORCHRUN, "--nproc-per-node=4", *where, *RUNNER]


def test_rows_from_before_there_were_several_have_one():
    assert Shape.of(Job(spec={"training": {"epochs": 3}})) == Shape()
    assert Shape.of(Job(spec={"training": {"hosts": 2, "processes": 8}})) == Shape(2, 8)


def test_a_job_that_reuses_a_supernet_waits_for_nobody():
    spec = {"training": {"hosts": 2, "processes": 8}, "supernet": {"reuse": "abc"}}
    assert Shape.of(Job(spec=spec)) == Shape()


@pytest.mark.parametrize("state", ["running", "stopping"])
def test_a_machine_that_failed_joins_the_same_run_again(monkeypatch, state):
    job = Job(id="j", state=state, epoch=3, lease_owner="w", spec={"training": {"hosts": 2}})
    joined = Joined(None, Settings(poll_seconds=0.01), "j", 1)  # type: ignore[arg-type]
    codes, epochs = [1, 0], []

    def train(shape, epoch):
        epochs.append(epoch)
        if len(epochs) == 2:
            job.state = "succeeded"
        return codes[len(epochs) - 1]

    monkeypatch.setattr(joined, "_job", lambda: job)
    monkeypatch.setattr(joined, "_say_goodbye", lambda: None)
    monkeypatch.setattr(joined, "_train_along", train)
    joined.run()
    assert epochs == [3, 3]


@pytest.mark.parametrize("rank", [2, 5])
def test_a_rank_that_the_training_does_not_have_is_refused(rank, monkeypatch):
    job = Job(id="j", state="running", spec={"training": {"hosts": 2}})
    joined = Joined(None, SETTINGS, "j", rank)  # type: ignore[arg-type]
    monkeypatch.setattr(joined, "_job", lambda: job)
    monkeypatch.setattr(joined, "_say_goodbye", lambda: None)
    with pytest.raises(ValueError, match=f"got rank {rank}, which must be from 1 to 1"):
        joined.run()


@pytest.mark.parametrize("address", ["nowhere", "host:", "a b:1"])
def test_a_rendezvous_is_a_host_and_a_port(address):
    with pytest.raises(ValueError, match="rendezvous"):
        Settings(rendezvous=address)
