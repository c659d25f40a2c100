"""Contract of a data source, whatever it is; its `example.py` writes a miniature of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from job.spec import DATA_MODELS, JobSpec
from plugins import kinds
from supernet.data import IN_MEMORY, DataError, Dataset, Split, load_dataset
from supernet.data.dataset import IGNORED
from supernet.data.options import SourceOptions
from winnow.testing.contract import Declared


def rows(split: Split) -> list[tuple[float, ...]]:
    """Examples of a split in a form that can be compared."""
    return [tuple(row) for row in split.stored[:].flatten(1).tolist()]


class SourceContract(Declared):
    """What holds of every data source."""

    kind = kinds.SOURCES

    @pytest.fixture
    def options(self, plugin: str, tmp_path: Path) -> dict[str, Any]:
        """The words that read a miniature."""
        made = kinds.SOURCES.example(plugin)
        home = kinds.SOURCES.home(plugin)
        assert made is not None, f"Write {home}/example.py with write(folder) -> options, to try it on a miniature."
        options: dict[str, Any] = made.write(tmp_path)
        return options

    def read(self, plugin: str, options: dict[str, Any], seed: int = 0) -> Dataset:
        """The miniature."""
        return load_dataset(plugin, seed, options)

    def test_a_job_that_names_the_source_loads_what_the_source_loads(
        self, plugin: str, options: dict[str, Any]
    ) -> None:
        """The options of a job have one word more, the source's name."""
        spec = DATA_MODELS[plugin].model_validate({"source": plugin, **options})
        assert isinstance(spec, SourceOptions)
        dataset = load_dataset(plugin, 0, spec)
        assert torch.equal(dataset.train.stored[:], self.read(plugin, options).train.stored[:])

    def test_words_of_a_job_are_the_sources_own(self, plugin: str, options: dict[str, Any]) -> None:
        """Both have the same defaults, and the source's name comes first."""
        declared = self.declared(plugin)
        spec = DATA_MODELS[plugin].model_validate({"source": plugin, **options}).model_dump()
        assert list(spec) == ["source", *declared.model_fields]
        assert spec == {"source": plugin, **declared.model_validate(options).model_dump()}

    def test_what_is_known_before_reading_is_what_is_read(self, plugin: str, options: dict[str, Any]) -> None:
        """The API judges a request by what is known before reading."""
        declared = kinds.SOURCES.options(plugin).OPTIONS.model_validate(options)
        dataset = self.read(plugin, options)
        if declared.gives() is not None:
            assert declared.gives() == dataset.gives
        if declared.kind is not None:
            assert (dataset.train.stored.dim() == 4) == (declared.kind in ("image", "pairs", "labelled pairs"))
            assert (dataset.train.texts is not None) == (declared.kind in ("pairs", "labelled pairs"))
            assert dataset.train.is_pairs == (declared.kind == "pairs")
            assert dataset.train.is_language == (declared.kind == "text")

    def test_classes_are_told_before_anything_is_decoded_or_not_at_all(
        self, plugin: str, options: dict[str, Any]
    ) -> None:
        """The first stage of a job stops loading once it knows the classes."""

        class Told(Exception):
            pass

        def hear(names: Sequence[str]) -> None:
            raise Told(tuple(names))

        names = self.read(plugin, options).preprocessing.get("labels")
        if not DATA_MODELS[plugin].tells_classes or names is None:
            load_dataset(plugin, 0, options, replace(IN_MEMORY, classes=hear))
            return
        with pytest.raises(Told) as told:
            load_dataset(plugin, 0, options, replace(IN_MEMORY, classes=hear))
        assert told.value.args == (tuple(names),)

    def test_the_splits_are_not_empty_and_hold_finite_inputs_with_labels_in_range(
        self, plugin: str, options: dict[str, Any]
    ) -> None:
        """Examples have the shape and type that networks take."""
        dataset = self.read(plugin, options)
        for split in dataset.splits.values():
            batch = split.batch(slice(0, 4))
            assert len(batch) == min(4, len(split)) > 0
            for inputs in batch.inputs.values():
                assert len(inputs) == len(batch)
                assert inputs.dtype in (torch.float32, torch.int64, torch.bool)
                assert torch.isfinite(inputs.float()).all()
            assert batch.targets.dtype == torch.int64
            counted = batch.targets[batch.targets != IGNORED]
            assert len(counted) > 0
            assert batch.partial == (len(counted) < batch.targets.numel())
            assert 0 <= int(counted.min()) <= int(counted.max()) < dataset.num_classes

    def test_the_same_seed_gives_the_same_splits(self, plugin: str, options: dict[str, Any]) -> None:
        """A resumed job finds the data that it had."""
        first, second = (self.read(plugin, options, seed=3) for _ in range(2))
        for name, split in first.splits.items():
            assert torch.equal(split.stored[:], second.splits[name].stored[:]), name
            assert torch.equal(split.y, second.splits[name].y), name

    def test_no_seed_moves_the_test_split(self, plugin: str, options: dict[str, Any]) -> None:
        """The test split is the same for all seeds, because it compares jobs."""
        first, second = (self.read(plugin, options, seed).test for seed in (0, 1))
        assert torch.equal(first.stored[:], second.stored[:])

    def test_validation_is_carved_from_training_data(self, plugin: str, options: dict[str, Any]) -> None:
        """Training and validation together are the same examples for every seed."""
        unions = []
        for seed in (0, 1):
            dataset = self.read(plugin, options, seed)
            unions.append(sorted(rows(dataset.train) + rows(dataset.validation)))
        assert unions[0] == unions[1]

    def test_a_share_that_leaves_nothing_is_refused(self, plugin: str, options: dict[str, Any]) -> None:
        """The refusal names the split that would be empty."""
        if "validation_share" not in self.declared(plugin).model_fields:
            pytest.skip(f"{plugin} has no share")
        with pytest.raises(DataError, match="validation"):
            self.read(plugin, {**options, "validation_share": 1e-9})

    def test_a_path_that_is_not_there_is_named(self, plugin: str, options: dict[str, Any]) -> None:
        """The path is the worker's, so the message names it."""
        if "path" not in options:
            pytest.skip(f"{plugin} needs no path")
        with pytest.raises(DataError, match="nowhere"):
            self.read(plugin, {**options, "path": "/nowhere/at-all"})

    def test_a_job_names_the_source_in_its_title(self, plugin: str, options: dict[str, Any]) -> None:
        """Lists of jobs show the source."""
        metric = self.read(plugin, options).metric
        spec = JobSpec.model_validate({"data": {"source": plugin, **options}, "objectives": [{"metric": metric}]})
        assert plugin in spec.title

    def test_cards_say_what_a_network_eats(self, plugin: str, options: dict[str, Any]) -> None:
        """The card tells whoever loads an export what the network takes."""
        facts = self.read(plugin, options).preprocessing
        assert {"input", "formula"} <= set(facts)
