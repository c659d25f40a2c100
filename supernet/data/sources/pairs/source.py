"""Images with texts, of a table (csv, tsv, json lines, parquet) that names files beside it or holds the images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from supernet.data.dataset import Dataset
from supernet.data.decoding import Decoding
from supernet.data.image_pairs import PairWords, pairs_dataset
from supernet.data.pair_tables import read_pairs
from supernet.data.sources.pairs.options import PairsOptions


@dataclass(frozen=True, slots=True)
class Pairs:
    """Read from `path`: a table, or a folder with `train` and, where there are, `validation` and `test`."""

    options: PairsOptions

    def load(self, seed: int, decoding: Decoding) -> Dataset:
        """The data set.

        Raises:
            DataError: a missing column, images without text, files that are not there; or they fit nowhere.
            OSError: they do not fit on the disk (`ENOSPC`).
        """
        options = self.options
        read = read_pairs(options)
        words = PairWords(options.tokenizer, options.lower_case, options.length, options.texts_of_a_class)
        whole = Path(options.path).name
        name = whole.split(".")[0]
        return pairs_dataset(name, f"pairs of {whole}", read, words, options, seed, decoding)


SOURCE = Pairs
