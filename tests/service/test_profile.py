"""Profiles: numbers that can be checked by hand, honest verdicts, and bad requests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from job.resolve import resolve
from job.spec import JobSpec
from predictors.cost import costs
from search.intervals import wilson
from search_space import plugins
from search_space.space import SearchSpace
from service.checks import check
from service.errors import Infeasible
from service.profile import MAX_SAMPLES, ProfileOut, ProfileSpec, log10, make_profile
from service.settings import Settings
from tests.api import open_api
from tests.conftest import TEMPORARY
from tests.tiers import mostly_thorough

DIGITS = {"family": "mobilenet", "preset": "digits"}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The API without any server: a profile needs none."""
    nowhere = tmp_path_factory.mktemp("nowhere")
    settings = Settings(
        data_dir=nowhere,
        database_url=f"postgresql://postgres@/x?host={nowhere}",
        redis_url="redis://127.0.0.1:9",
        auth="off",
        allowed_hosts="testserver",
        data_roots=TEMPORARY,
    )
    with open_api(settings) as client:
        yield client


def profile(supernet: dict[str, Any], *limits: tuple[str, float], **more: Any) -> ProfileOut:
    objectives = [{"metric": metric, "limit": limit} for metric, limit in limits]
    return make_profile(ProfileSpec.model_validate({"supernet": supernet, "objectives": objectives, **more}))


def six() -> dict[str, Any]:
    choices = {"stem_width": [4, 8], "stage*_width": [8], "stage*_depth": [1], "stage*_kernel": [3]}
    return {**DIGITS, "choices": {**choices, "stage*_expansion": [1]}}


# --- numbers ----------------------------------------------------------------------------------------


def test_a_small_space_is_counted_whole() -> None:
    found = profile(six())
    space = ProfileSpec.model_validate({"supernet": six()}).supernet.space()
    every = sorted(costs(space, one)["macs"] for one in space.every())
    macs = next(one for one in found.metrics if one.metric == "macs")
    assert (found.architectures, found.counted, found.counted_how) == ("6", 6, "every network")
    assert (macs.smallest, macs.median, macs.largest) == (every[0], every[3], every[-1])


def test_share_of_a_space_that_is_counted_whole_is_exact() -> None:
    space_costs = profile(six())
    macs = next(one for one in space_costs.metrics if one.metric == "macs")
    found = profile(six(), ("macs", macs.median)).feasibility
    assert found is not None
    assert (found.answer, found.share, found.share_low, found.share_high) == ("feasible", 4 / 6, 4 / 6, 4 / 6)
    found = profile(six(), ("macs", macs.smallest - 1)).feasibility
    assert found is not None
    assert (found.answer, found.share, found.looked_at) == ("infeasible", 0, 6)
    assert "Every one of the 6 networks was counted" in found.reason
    assert found.nearest.metrics["macs"] == macs.smallest
    assert found.nearest.beyond == {"macs": pytest.approx(1 / (macs.smallest - 1))}


def test_ranges_are_those_of_the_ends_and_the_sample() -> None:
    found = profile(DIGITS, samples=200)
    space = plugins.load_family("mobilenet", "digits")
    for one in found.metrics:
        assert one.smallest == costs(space, space.smallest())[one.metric]
        assert one.largest == costs(space, space.largest())[one.metric]
        assert one.smallest < one.median < one.largest
    assert found.architectures == str(space.size())
    assert found.architectures_log10 == pytest.approx(7.25535, abs=1e-5)
    assert found.takes == "images of 1x8x8 in 10 classes"


def test_share_comes_with_its_interval_and_agrees_with_a_larger_sample() -> None:
    small = profile(DIGITS, ("macs", 60_000), ("params", 8_000), samples=300).feasibility
    large = profile(DIGITS, ("macs", 60_000), ("params", 8_000), samples=4000, seed=7).feasibility
    assert small is not None
    assert large is not None
    assert small.share_low < large.share < small.share_high
    assert large.share_high - large.share_low < small.share_high - small.share_low


def test_each_limit_has_its_own_share_and_says_when_it_is_known() -> None:
    limits = {one.metric: one for one in profile(DIGITS, ("macs", 60_000), ("accuracy", 0.9)).limits}
    assert limits["macs"].known == "now"
    assert limits["macs"].bound == "at most"
    assert 0 < (limits["macs"].share or 0) < 1
    assert limits["accuracy"].known == "only after training"
    assert limits["accuracy"].bound == "at least"
    assert limits["accuracy"].share is None


def test_without_a_limit_on_a_cost_nothing_is_claimed() -> None:
    assert profile(DIGITS, ("accuracy", 0.9)).feasibility is None
    assert profile(DIGITS).limits == []


def test_limit_that_random_networks_miss_is_found_by_looking() -> None:
    found = profile(DIGITS, ("macs", 8_500), samples=50).feasibility
    assert found is not None
    assert (found.answer, found.share) == ("feasible", 0)
    assert found.share_high > 0
    assert found.nearest.metrics["macs"] <= 8_500
    assert found.nearest.beyond == {}


def test_the_nearest_of_an_infeasible_space_is_a_network_of_it() -> None:
    found = profile(DIGITS, ("macs", 1_000), ("size_bytes", 1e9)).feasibility
    assert found is not None
    assert found.answer == "infeasible"
    assert found.nearest.metrics["macs"] == 8256
    assert found.nearest.beyond == {"macs": pytest.approx(7.256)}
    space = plugins.load_family("mobilenet", "digits")
    assert space.architecture(**found.nearest.values).id == found.nearest.architecture_id


def test_a_limit_that_only_other_networks_meet_is_refused_with_what_to_do() -> None:
    limit = {"objectives": [{"metric": "perplexity"}, {"metric": "params", "limit": 128_000}]}
    job = {"recipe": "llama_nas", "supernet": {"preset": "tiny"}, **limit}
    with pytest.raises(Infeasible, match=r"that gguf can run without zeros; `supernet\.deployable: \[\]` allows"):
        check(None, resolve(JobSpec.model_validate(job)))  # type: ignore[arg-type]  # no session is asked
    job["supernet"] = {"preset": "tiny", "deployable": []}
    check(None, resolve(JobSpec.model_validate(job)))  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_profile() -> None:
    first, second, other = (profile(DIGITS, ("macs", 60_000), seed=seed, samples=100) for seed in (1, 1, 2))
    assert first.model_dump(exclude={"seconds"}) == second.model_dump(exclude={"seconds"})
    assert first.metrics != other.metrics


def test_data_that_does_not_fit_is_told() -> None:
    assert profile(DIGITS, data={"source": "digits"}).data_misfit is None
    said = profile({**DIGITS, "classes": 3}, data={"source": "digits"}).data_misfit
    assert said is not None
    assert "set supernet.classes to 10" in said


@pytest.mark.parametrize(("met", "counted"), [(0, 10), (1, 10), (5, 10), (10, 10), (3, 10_000)])
def test_wilson_holds_the_share_and_stays_a_share(met: int, counted: int) -> None:
    low, high = wilson(met, counted)
    assert 0 <= low <= met / counted <= high <= 1
    assert (low == 0) == (met == 0)


def test_wilson_of_a_published_example() -> None:
    # Newcombe (1998), table I: 81 of 263 gives 0.2553 to 0.3662.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_log10_of_what_no_float_holds() -> None:
    assert log10(10**400) == pytest.approx(400)
    assert log10(1000) == pytest.approx(3)


# A thousand networks of the smallest space, then of the largest: what each takes, of this process alone.
LARGE = r"""
import json, re, sys, time
from service.profile import ProfileSpec, make_profile

def profile(supernet):
    began = time.process_time()
    limits = [{"metric": "params", "limit": 5e9}, {"metric": "peak_activation_bytes", "limit": 1e9}]
    found = make_profile(ProfileSpec.model_validate({"supernet": supernet, "objectives": limits, "samples": 1000}))
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[1]) / 1024
    return found, time.process_time() - began, peak

profile({"family": "mobilenet", "preset": "digits"})  # what is loaded at the first time
few, seconds, peak = profile({"family": "mobilenet", "preset": "digits"})
many, more_seconds, more_peak = profile({"family": "llama", "preset": "llama2_7b"})
for _ in range(2):  # in turns, the fastest of three each: others of the machine slow down one of them at times
    seconds = min(seconds, profile({"family": "mobilenet", "preset": "digits"})[1])
    more_seconds = min(more_seconds, profile({"family": "llama", "preset": "llama2_7b"})[1])
torch = "torch" in sys.modules
print(json.dumps([many.metrics[1].largest, more_seconds / seconds, more_peak - peak, torch, many.takes]))
"""


@pytest.mark.thorough
@pytest.mark.skipif("llama" not in plugins.FAMILIES.names(), reason="no llama family")
def test_seven_billion_parameters_take_no_memory_and_no_time() -> None:
    done = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True, check=True)
    largest, ratio, more_mib, torch_loaded, takes = json.loads(done.stdout)
    assert largest == 6_738_415_616
    assert ratio < 4, "times the processor time of digits, for a thousand networks of a 7B space"
    assert more_mib < 50
    assert not torch_loaded
    assert "at a time" in takes


# --- the API ----------------------------------------------------------------------------------------


def test_the_api_answers_without_any_server(api: TestClient) -> None:
    answer = api.post("/v1/profile", json={"supernet": DIGITS, "objectives": [{"metric": "macs", "limit": 60000}]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["feasibility"]["answer"] == "feasible"


def test_a_whole_job_can_be_sent_as_it_is(api: TestClient) -> None:
    job = {
        "name": "mine",
        "recipe": "bignas",
        "training": {"epochs": 3},
        "objectives": [{"metric": "accuracy", "limit": 0.5}, {"metric": "macs", "limit": 60000}],
        "samples": 20,
    }
    found = api.post("/v1/profile", json=job).json()
    assert found["space"] == "mobilenet/digits"
    assert found["counted"] == 20
    assert [limit["metric"] for limit in found["limits"]] == ["accuracy", "macs"]


NEGATIVE = [{"metric": "macs", "limit": -1}]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, "supernet: It is missing"),
        ([], "must be a mapping"),
        ({"supernet": {}}, "supernet.family: It is missing"),
        ({"supernet": {"family": "mobilenet"}}, "Name a preset of family 'mobilenet'"),
        ({"supernet": {"family": "../mobilenet", "preset": "digits"}}, "No family named '../mobilenet'"),
        ({"supernet": {**DIGITS, "choices": {"colour": [1]}}}, "has no choice 'colour'. Its choices: stem_width"),
        ({"supernet": {**DIGITS, "choices": {"st*_color": [1]}}}, "has no choice 'st*_color'"),
        (
            {"supernet": {**DIGITS, "choices": {"stem_width": []}}},
            "Choice 'stem_width' of 'mobilenet/digits' has no options",
        ),
        ({"supernet": {**DIGITS, "choices": {"stem_width": ["wide"]}}}, "Option 'wide' of choice 'stem_width'"),
        ({"supernet": {**DIGITS, "choices": {"stem_width": [8, 8]}}}, "lists an option twice"),
        ({"supernet": {**DIGITS, "choices": {"stem_width": [-8]}}}, "a whole number of at least 1"),
        ({"supernet": {**DIGITS, "choices": {"stem_width": [1.5]}}}, "a whole number of at least 1"),
        ({"supernet": {**DIGITS, "choices": {"stem_width": [True]}}}, "stem_width"),
        ({"supernet": {**DIGITS, "choices": {"stem_width": 8}}}, "supernet.choices.stem_width"),
        ({"supernet": {**DIGITS, "choices": [1]}}, "supernet.choices"),
        ({"supernet": {**DIGITS, "classes": 0}}, "at least 1; got 0"),
        ({"supernet": {**DIGITS, "families_dir": "/tmp"}}, "There is no such field"),
        ({"supernet": DIGITS, "objectives": NEGATIVE}, "Got a limit of -1.0 on 'macs'; it must not be negative"),
        ({"supernet": DIGITS, "objectives": [{"metric": "speed"}]}, "No metric named 'speed'"),
        ({"supernet": DIGITS, "objectives": [{"metric": "macs"}] * 2}, "listed twice"),
        (
            {"supernet": DIGITS, "objectives": [{"metric": "macs", "limit": "low"}]},
            "limit: It must be a number; got 'low'.",
        ),
        ({"supernet": DIGITS, "samples": 10**9}, f"at most {MAX_SAMPLES}; got 1000000000"),
        ({"supernet": DIGITS, "samples": 0}, "at least 1"),
        ({"supernet": DIGITS, "seed": -1}, "at least 0; got -1"),
        ({"supernet": DIGITS, "sample": 5}, "There is no such field"),
        ({"recipe": "bignas", "sample": 5}, "There is no such field"),
        ({"recipe": "magic"}, "No recipe named 'magic'"),
        ({"recipe": "bignas", "training": {"epochs": 0}}, "training.epochs"),
        ({"supernet": DIGITS, "data": {"source": "nonsuch"}}, "No data source named 'nonsuch'"),
    ],
)
def test_bad_request_is_refused_with_what_is_right(api: TestClient, body: Any, expected: str) -> None:
    answer = api.post("/v1/profile", json=body)
    problem = answer.json()
    assert answer.status_code == 422, problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert expected in problem["detail"], problem["detail"]


@pytest.mark.parametrize("limit", ["NaN", "Infinity", "-Infinity"])
def test_limit_that_is_no_number_is_refused(api: TestClient, limit: str) -> None:
    body = f'{{"supernet": {json.dumps(DIGITS)}, "objectives": [{{"metric": "macs", "limit": {limit}}}]}}'
    answer = api.post("/v1/profile", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert "finite number" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (None, "There is no checkpoint folder"),
        ({}, "config.json is missing"),
        ({"config.json": "{}", "pytorch_model.bin": "x"}, "holds its weights as a pickle (pytorch_model.bin)"),
        ({"config.json": "{}", "model.safetensors": "\x10"}, "truncated or damaged"),
        ({"config.json": "{", "model.safetensors": ""}, "not readable JSON"),
    ],
)
def test_bad_checkpoint_is_refused_when_it_is_asked_about(
    api: TestClient, tmp_path: Path, files: dict[str, str] | None, expected: str
) -> None:
    folder = tmp_path / "checkpoint"
    for name, content in (files or {}).items():
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    if files == {}:
        folder.mkdir()
    body = {"supernet": {"family": "llama", "pretrained": str(folder)}}
    for path in ("/v1/profile", "/v1/jobs"):
        answer = api.post(path, json=body)
        assert answer.status_code == 422
        assert expected in answer.json()["detail"], answer.json()["detail"]


# --- the command line -------------------------------------------------------------------------------


def winnow(*arguments: str, families: Path | None = None) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}
    environment = {**clean, "COLUMNS": "120", **({"WINNOW_FAMILIES_DIR": str(families)} if families else {})}
    command = [sys.executable, "-m", "service.cli", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.thorough
def test_the_command_line_needs_no_service(tmp_path: Path) -> None:
    done = winnow("profile", "--family", "mobilenet", "--preset", "digits", "--limit", "macs=1e5", "--samples", "50")
    assert done.returncode == 0, done.stderr
    for expected in ("18,003,384 networks", "images of 1x8x8", "8,256", "513,472", "feasible"):
        assert expected in done.stdout
    job = tmp_path / "job.yaml"
    job.write_text("recipe: bignas\nobjectives: [{metric: accuracy}, {metric: macs, limit: 9e4}]\n")
    done = winnow("profile", str(job), "--limit", "macs=100", "--json")
    found = json.loads(done.stdout)
    assert [(limit["metric"], limit["limit"]) for limit in found["limits"]] == [("macs", 100.0)]
    assert found["feasibility"]["answer"] == "infeasible"


BAD_COMMANDS = [
    (["profile"], "Give a job file, or --family and --preset."),
    (["profile", "--family", "mobilenet"], "Name a preset of family 'mobilenet'"),
    (["profile", "--family", "mobilenet", "--preset", "digits", "--limit", "macs<5"], "write it as METRIC=NUMBER"),
    (["profile", "--family", "mobilenet", "--preset", "digits", "--limit", "macs=nan"], "finite number"),
    (["profile", "missing.yaml"], "missing.yaml"),
    (["family", "check", "nonsuch"], "No family named 'nonsuch'"),
]


@pytest.mark.parametrize(("arguments", "expected"), mostly_thorough(BAD_COMMANDS, BAD_COMMANDS[2]))
def test_command_line_errors_are_one_line(arguments: list[str], expected: str) -> None:
    done = winnow(*arguments)
    assert done.returncode != 0
    assert expected in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_a_families_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = winnow("family", "list", families=tmp_path / "nonsuch")
    assert done.returncode != 0
    assert done.stderr.startswith("winnow: WINNOW_FAMILIES_DIR: Path does not point to a directory")


# --- families of the user's own ---------------------------------------------------------------------


def test_a_broken_family_is_refused_and_everything_else_goes_on(tmp_path: Path) -> None:
    from tests.docs.families import write_documented_family

    families = write_documented_family(tmp_path / "families")
    (families / "broken.py").write_text("x = 1\ny = z\n")
    (families / "mobilenet.py").write_text("raise RuntimeError('shadow')\n")
    settings = Settings(
        data_dir=tmp_path,
        database_url=f"postgresql://postgres@/x?host={tmp_path}",
        redis_url="redis://127.0.0.1:9",
        families_dir=families,
        auth="off",
        allowed_hosts="testserver",
    )
    try:
        with open_api(settings, raise_server_exceptions=False) as client:
            catalog = client.get("/v1/catalog").json()
            assert "digits" in catalog["families"]["residual"]
            assert "digits" in catalog["families"]["mobilenet"]
            assert set(catalog["families_refused"]) == {"broken", "mobilenet"}
            assert "broken.py, line 2: NameError" in catalog["families_refused"]["broken"]
            answer = client.post("/v1/profile", json={"supernet": {"family": "broken", "preset": "a"}})
            assert answer.status_code == 422
            assert "broken.py, line 2: NameError" in answer.json()["detail"]
            assert client.post("/v1/profile", json={"supernet": DIGITS}).status_code == 200

            # A mistake that shows in some networks only.
            source = (families / "residual.py").read_text()
            changed = source.replace(
                "ResidualSpec(width, values",
                "ResidualSpec(width + 0 * (1 if values['depth'] != 2 else {}['x']), values",
            )
            (families / "residual.py").write_text(changed)
            answer = client.post("/v1/profile", json={"supernet": {"family": "residual", "preset": "digits"}})
            assert answer.status_code == 422, answer.text
            assert "residual.py, line " in answer.json()["detail"]
            assert "KeyError: 'x'" in answer.json()["detail"]

            # Mended: no restart.
            (families / "broken.py").write_text(source)
            assert "broken" in client.get("/v1/catalog").json()["families"]
    finally:
        plugins.use_families_dir(None)


def test_the_catalog_is_fast_once_it_is_made(api: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is profiled for it again."""
    first = api.get("/v1/catalog").json()
    profiled = []
    monkeypatch.setattr(SearchSpace, "layers", lambda *_: profiled.append(1))
    catalog = api.get("/v1/catalog").json()
    assert not profiled
    assert catalog == first
    for presets in catalog["families"].values():
        for preset in presets.values():
            assert preset["takes"]
            assert int(preset["architectures"]) >= 1
            assert preset["input"]["kind"] in ("images", "tokens", "pairs")
