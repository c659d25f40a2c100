"""A whole job from one sentence: what is decided, what is asked, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from job.formats import FormatRefused, refuse_for_all
from job.paths import POLICY, PathPolicy, PathRefused
from job.resolve import resolve
from job.shrink.data import read_data
from job.shrink.decisions import Undecided
from job.shrink.plan import Plan, make_plan
from job.shrink.spec import ShrinkSpec
from job.spec import JobSpec
from tests.supernet.brought import BROUGHT
from tests.supernet.checkpoints import CHECKPOINTS, save
from tests.supernet.published_cnns import written


def plan(model: str, data: str, **more: object) -> Plan:
    return make_plan(ShrinkSpec.model_validate({"model": model, "data": data, **more}))


def pictures(root: Path, *classes: str) -> Path:
    for name in classes:
        (root / name).mkdir(parents=True)
        (root / name / "one.PNG").write_bytes(b"")
    return root


class TestWhatIsDecided:
    def test_limits_become_objectives_and_the_rule_of_the_export(self) -> None:
        found = plan("mobilenet/digits", "digits", under={"latency_ms": 5, "params": 9000})

        spec = JobSpec.model_validate(found.job)
        assert [(one.metric, one.limit) for one in spec.objectives] == [
            ("accuracy", None),
            ("latency_ms", 5),
            ("params", 9000),
            ("size_bytes", None),
        ]
        assert found.rule == {"pick": "as_good", "under": {"latency_ms": 5, "params": 9000}}

    def test_limits_beyond_what_objectives_hold_are_constraints(self) -> None:
        under = {"latency_ms": 5, "params": 9000, "macs": 90000, "size_bytes": 99999}

        spec = JobSpec.model_validate(plan("mobilenet/digits", "digits", under=under).job)

        goals = [*spec.objectives, *spec.constraints]
        assert {one.metric: one.limit for one in goals} == {"accuracy": None, **under}

    def test_without_limits_the_cheapest_that_is_as_good_is_meant(self) -> None:
        assert plan("mobilenet/digits", "digits").rule == {"pick": "as_good", "under": {}}

    @pytest.mark.parametrize(
        ("parts", "changes", "count"),
        [
            ({"": 25}, {}, 4),  # of 50 files 10 are for tests, and a tenth of the rest validates
            ({"train/": 25, "val/": 30}, {}, 60),
            ({"train/": 25, "val/": 100}, {}, None),
            ({"": 500}, {}, 80),
            ({"": 500}, {"validation_share": 0.2}, None),
            ({"": 500}, {"validation_share": 0.2, "limit": 100}, 20),
        ],
    )
    def test_few_samples_that_decide_are_said_before_the_job(
        self, tmp_path: Path, parts: dict[str, int], changes: dict[str, object], count: int | None
    ) -> None:
        for part, files in parts.items():
            for name in ("cat", "dog"):
                folder = tmp_path / "pets" / part / name
                folder.mkdir(parents=True)
                for number in range(files):
                    (folder / f"{number}.png").write_bytes(b"")

        found = plan("mobilenet/cifar", str(tmp_path / "pets"), changes={"data": changes})

        assert [text.split(" validation")[0] for text in found.warnings] == (
            [] if count is None else [f"Only about {count}"]
        )

    def test_enough_samples_and_what_is_not_known_are_no_warning(self, tmp_path: Path) -> None:
        assert plan("mobilenet/digits", "digits").warnings == ()
        assert plan("mobilenet/digits", "digits", changes={"data": {"validation_share": 0.01}}).warnings
        (tmp_path / "rows.tsv").write_text("one\t0\ntwo\t1\n")
        changes = {"supernet": {"classes": 2}}
        assert plan("bert/tiny", str(tmp_path / "rows.tsv"), changes=changes).warnings == ()

    def test_what_is_said_otherwise_is_no_decision_any_more(self) -> None:
        asked = {"training": {"epochs": 3}, "search": {"evaluations": 60}}

        found = plan("mobilenet/digits", "digits", changes=asked)

        spec = JobSpec.model_validate(found.job)
        assert (spec.training.epochs, spec.search.evaluations) == (3, 60)
        assert not {"training.epochs", "search.evaluations"} & {one.change for one in found.decisions}

    def test_every_decision_names_a_part_that_changes_it(self, tmp_path: Path) -> None:
        data = pictures(tmp_path / "pets", "cat", "dog", "eel")

        found = plan("mobilenet/cifar", str(data))

        job = JobSpec.model_validate(found.job).model_dump()
        for decision in found.decisions:
            place = job
            for name in decision.change.split("."):
                assert name in place, decision
                place = place[name]
        assert job["supernet"]["classes"] == 3

    @pytest.mark.parametrize("kind", ["vit", "dinov2", "convnext"])
    def test_bits_are_not_searched_for_a_format_that_holds_no_integers(self, tmp_path: Path, kind: str) -> None:
        data = pictures(tmp_path / "pets", *(f"class{number}" for number in range(7)))
        _, network, config = {**CHECKPOINTS, **BROUGHT}[kind]
        save(network, config, tmp_path / "model")

        found = [plan(str(tmp_path / "model"), str(data), formats=names) for names in (["huggingface"], ["onnx"], [])]

        assert [one.job["recipe"] for one in found] == ["bignas", "simq_nas", "simq_nas"]
        assert [one.spec.quantization is None for one in found] == [True, False, False]
        told = next(one for one in found[0].decisions if one.what == "recipe")
        assert (told.value, told.why) == (
            "bignas",
            "shapes alone are searched: huggingface stores no integers of a search",
        )

    def test_a_checkpoint_of_torchvision_or_timm_is_read_by_its_architecture(self, tmp_path: Path) -> None:
        data = pictures(tmp_path / "pets", *(f"class{number}" for number in range(7)))
        written("torchvision", "resnet18", tmp_path / "model")

        found = plan(str(tmp_path / "model"), str(data))

        assert found.spec.supernet.family == "resnet"
        assert "architecture is resnet18" in next(one.why for one in found.decisions if one.what == "family")

    def test_an_unknown_format_is_refused(self) -> None:
        with pytest.raises(ValidationError, match="hugginface"):
            plan("mobilenet/digits", "digits", formats=["hugginface"])

    @pytest.mark.parametrize("train", ["train", "Training", ""])
    def test_parts_are_no_classes(self, tmp_path: Path, train: str) -> None:
        for part in (train, "test"):
            pictures(tmp_path / part, "cat", "dog", "eel")

        assert read_data(str(tmp_path)).classes == 3

    def test_a_device_is_where_latency_is_measured(self) -> None:
        spec = JobSpec.model_validate(plan("mobilenet/digits", "digits", device="kitchen").job)

        assert {one.metric: one.target for one in spec.objectives}["latency_ms"] == "kitchen"

    @pytest.mark.parametrize(
        ("family", "name", "text", "recipe"),
        [("bert", "data.csv", "text,label\nfine,a\nbad,b\n", "simq_nas"), ("llama", "book.txt", "words", "llama_nas")],
    )
    def test_a_checkpoint_and_its_data_decide_the_recipe(
        self, tmp_path: Path, family: str, name: str, text: str, recipe: str
    ) -> None:
        _, kind, config = CHECKPOINTS[family]
        folder = tmp_path / "model"
        save(kind, config, folder)
        (tmp_path / name).write_text(text)

        spec = JobSpec.model_validate(plan(str(folder), str(tmp_path / name)).job)

        assert (spec.recipe, spec.supernet.family, spec.supernet.pretrained) == (recipe, family, str(folder))
        # A checkpoint's weights are good already.
        assert spec.training.learning_rate <= 1e-4


class TestBits:
    """They are searched with the shapes, unless the device or a format knows none."""

    def test_a_format_of_floating_point_weights_leaves_shapes_alone(self) -> None:
        found = plan("resnet/cifar", "digits", formats=["onnx", "torch_export"])

        assert found.job["recipe"] == "bignas"
        assert "torch_export stores no integers" in next(one.why for one in found.decisions if one.what == "recipe")
        assert plan("resnet/cifar", "digits", formats=["onnx"]).job["recipe"] == "simq_nas"

    def test_a_device_without_kernels_leaves_shapes_alone(self) -> None:
        found = plan("mobilenet/digits", "digits", device="cuda-onnxruntime")

        assert found.job["recipe"] == "bignas"
        assert found.spec.quantization is None

    def test_a_format_that_no_network_can_have_is_refused_before_the_job(self) -> None:
        found = plan("mobilenet/digits", "digits", formats=["gguf"])

        with pytest.raises(FormatRefused, match=r"cannot be exported as gguf: .*It can have: .*onnx"):
            refuse_for_all(["gguf"], resolve(found.spec))
        refuse_for_all(["onnx"], resolve(found.spec))

    def test_bits_that_somebody_asks_for_keep_their_formats(self) -> None:
        found = plan("mobilenet/digits", "digits", formats=["torch_export"], changes={"recipe": "simq_nas"})

        with pytest.raises(FormatRefused, match="torch_export"):
            refuse_for_all(["torch_export"], resolve(found.spec))


class TestHealing:
    """Networks of a pretrained decoder are healed, and the table says why or why not."""

    @pytest.fixture
    def decoder(self, tmp_path: Path) -> tuple[str, str]:
        _, kind, config = CHECKPOINTS["llama"]
        save(kind, config, tmp_path / "model")
        (tmp_path / "book.txt").write_text("words " * 100)
        return str(tmp_path / "model"), str(tmp_path / "book.txt")

    def test_a_pretrained_decoder_heals_by_steps(self, decoder: tuple[str, str]) -> None:
        found = plan(*decoder)

        part = JobSpec.model_validate(found.job).healing
        assert part is not None
        assert (part.networks, part.most, part.steps, part.minutes) == ("front", 3, 300, None)
        assert "300 steps" in told_of_healing(found)

    def test_a_large_one_heals_by_the_clock(self, decoder: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("job.shrink.plan.MOST_HEALING", 1.0)

        found = plan(*decoder)

        part = JobSpec.model_validate(found.job).healing
        assert part is not None
        assert (part.steps, part.minutes) == (None, 10)
        assert "10 minutes" in told_of_healing(found).replace("10.0", "10")

    def test_what_is_said_goes_over_what_is_decided(self, decoder: tuple[str, str]) -> None:
        part = JobSpec.model_validate(plan(*decoder, changes={"healing": {"minutes": 3}}).job).healing

        assert part is not None
        assert (part.networks, part.steps, part.minutes) == ("front", None, 3)

    def test_none_is_an_answer(self, decoder: tuple[str, str]) -> None:
        assert JobSpec.model_validate(plan(*decoder, changes={"healing": None}).job).healing is None

    def test_bits_that_are_searched_leave_no_healing(self, decoder: tuple[str, str]) -> None:
        found = plan(*decoder, changes={"quantization": {"bits": [8, 32]}})

        assert JobSpec.model_validate(found.job).healing is None
        assert told_of_healing(found) == "none"

    def test_what_starts_from_nothing_is_not_healed(self) -> None:
        found = plan("mobilenet/digits", "digits", changes={"quantization": None})

        assert JobSpec.model_validate(found.job).healing is None
        assert told_of_healing(found) == "none"


def told_of_healing(found: Plan) -> str:
    (value,) = (one.value for one in found.decisions if one.what == "healing")
    return value


class TestWhatIsAsked:
    @pytest.mark.parametrize("files", [("a.png", "b.csv"), ("book.txt", "table.parquet")])
    def test_two_kinds_of_files_are_a_question(self, tmp_path: Path, files: tuple[str, str]) -> None:
        for name in files:
            (tmp_path / name).write_bytes(b"")

        with pytest.raises(Undecided, match="say which are the data"):
            read_data(str(tmp_path))

    def test_hidden_files_are_no_second_kind(self, tmp_path: Path) -> None:
        pictures(tmp_path, "a", "b")
        (tmp_path / "a" / "._one.csv").write_bytes(b"")
        (tmp_path / ".cache").mkdir()
        (tmp_path / ".cache" / "x.txt").write_bytes(b"")

        assert read_data(str(tmp_path)).source == "images"

    def test_a_family_of_several_sizes_is_a_question(self) -> None:
        with pytest.raises(Undecided, match=r"Name one, as in vit/.*cifar: images of 3x32x32"):
            plan("vit", "digits")

    def test_data_of_another_kind_than_the_model_takes(self, tmp_path: Path) -> None:
        (tmp_path / "book.txt").write_text("words")

        with pytest.raises(Undecided, match=r"'image'.*'text'"):
            plan("mobilenet/cifar", str(tmp_path))

    def test_images_without_classes(self, tmp_path: Path) -> None:
        (tmp_path / "one.png").write_bytes(b"")

        with pytest.raises(Undecided, match="one folder for each class"):
            read_data(str(tmp_path))

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        with pytest.raises(Undecided, match=r"no file that a data source reads.*\.png"):
            read_data(str(tmp_path))


class TestWhatIsRefused:
    def test_a_name_of_the_hub_says_how_to_fetch_it(self) -> None:
        with pytest.raises(Undecided, match="hf download"):
            plan("google/vit-base-patch16-224", "digits")

    @pytest.mark.parametrize(
        ("text", "said"),
        [("{", "not readable JSON"), ("[]", "names neither model_type"), ("{}", "names neither model_type")],
    )
    def test_a_folder_that_is_no_checkpoint(self, tmp_path: Path, text: str, said: str) -> None:
        (tmp_path / "config.json").write_text(text)

        with pytest.raises(Undecided, match=said):
            plan(str(tmp_path), "digits")

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(Undecided, match="There is no folder"):
            plan(str(tmp_path / "nowhere"), "digits")

    def test_a_format_that_nobody_writes(self) -> None:
        with pytest.raises(ValidationError, match="No export format named 'nope'"):
            plan("mobilenet/digits", "digits", formats=["nope"])

    def test_a_model_type_of_no_family(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "nobody"}))

        with pytest.raises(ValueError, match="'nobody'; supported are"):
            plan(str(tmp_path), "digits")

    @pytest.mark.parametrize("limit", [{"accuracy": 0.9}, {"speed": 1}, {"perplexity": 9}])
    def test_a_limit_that_is_no_cost(self, limit: dict[str, float]) -> None:
        with pytest.raises(ValidationError, match="latency_ms"):
            plan("mobilenet/digits", "digits", under=limit)

    def test_a_change_that_is_no_part_of_a_job(self) -> None:
        with pytest.raises(ValidationError, match="trainnig"):
            plan("mobilenet/digits", "digits", changes={"trainnig": {"epochs": 3}})

    def test_folders_that_are_closed_look_like_those_that_are_not_there(self, tmp_path: Path) -> None:
        pictures(tmp_path / "there", "a", "b")
        token = POLICY.set(PathPolicy((tmp_path / "open",)))
        try:
            said = []
            for name in ("there", "not"):
                with pytest.raises(PathRefused) as caught:
                    plan("mobilenet/cifar", str(tmp_path / name))
                said.append(str(caught.value).replace(name, "X", 1))
        finally:
            POLICY.reset(token)
        assert said[0] == said[1]
