"""Images with texts and a class of both, such as questions with their answers, of a table or a saved data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from supernet.data.dataset import Dataset
from supernet.data.decoding import Decoding
from supernet.data.image_pairs import PairWords, pairs_dataset
from supernet.data.pair_tables import read_labelled_pairs
from supernet.data.sources.labelled_pairs.options import LabelledPairsOptions


@dataclass(frozen=True, slots=True)
class LabelledPairs:
    """Read from `path`: a table, or a folder with `train` and, where there are, `validation` and `test`."""

    options: LabelledPairsOptions

    def load(self, seed: int, decoding: Decoding) -> Dataset:
        """The data set.

        Raises:
            DataError: a missing column, pairs without text or label, labels that are no classes, files that are not
                there; or they fit nowhere.
            OSError: they do not fit on the disk (`ENOSPC`).
        """
        options = self.options
        read = read_labelled_pairs(options)
        words = PairWords(options.tokenizer, options.lower_case, options.length, ())
        whole = Path(options.path).name
        name = whole.split(".")[0]
        return pairs_dataset(name, f"labelled pairs of {whole}", read, words, options, seed, decoding)


SOURCE = LabelledPairs
