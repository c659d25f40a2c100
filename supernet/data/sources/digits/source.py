"""scikit-learn's handwritten digits: no download, a minute's training."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from supernet.data.dataset import Dataset
from supernet.data.decoding import Decoding
from supernet.data.images import Carving, Labelled, image_dataset
from supernet.data.sources.digits.options import DigitsOptions

# Bit i: image i is for testing. The fifth that scikit-learn's `train_test_split` draws, stratified, with
# `random_state=0`, written down so that test accuracies compare from release to release.
TEST = int(
    "a8251c80484240414030058109010615108420243402654411004100c14080701601032203209414cc008405082100807008"
    "0000981003c0101c008100411080007160200403013200100108106386a1d021000a5018250542020001220068408156ec21"
    "6202200100838202404012180520100210d0000000501965043c8015c100212440009023704000080c001202a00008051002"
    "080023a0120004018100001b2002000000500502429224a822041150100005088140051f0420489809005029000800483460"
    "140024008010005800a042c900826000020824ac11200000",
    16,
)


@dataclass(frozen=True, slots=True)
class Digits:
    """1,797 images of 8x8 pixels from 0 to 16: 20 % test, and of the rest a share for validation."""

    options: DigitsOptions

    def load(self, seed: int, decoding: Decoding) -> Dataset:
        """The data set.

        Raises:
            DataError: the share leaves a split empty.
        """
        pixels, labels = read_digits()
        images = Labelled(pixels.reshape(-1, 1, 8, 8).astype(np.uint8), labels.astype(np.int64))
        tested = np.array([bool(TEST >> image & 1) for image in range(len(labels))])
        train, test = images.take(np.flatnonzero(~tested)), images.take(np.flatnonzero(tested))
        classes = [str(digit) for digit in range(10)]
        carving = Carving(self.options.validation_share, test_share=0.0, limit=None)
        return image_dataset("digits", "scikit-learn load_digits", train, test, classes, carving, seed, full_scale=16)


def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """What `load_digits` returns: pixels of shape (1797, 64), labels of shape (1797,).

    Read from its file, because the import of scikit-learn takes as long as that of torch, and every process of a job
    reads its data.
    """
    spec = find_spec("sklearn")
    assert spec is not None
    assert spec.origin is not None
    file = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if file.is_file():
        table = np.loadtxt(file, delimiter=",")
        return table[:, :-1], table[:, -1]
    from sklearn.datasets import load_digits  # a release that keeps it elsewhere

    pixels, labels = load_digits(return_X_y=True)
    return pixels, labels


SOURCE = Digits
