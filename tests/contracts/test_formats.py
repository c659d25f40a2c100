"""Every export format of this repository keeps the contract."""

import pytest

from job.formats import unasked
from plugins.kinds import FORMATS
from winnow.testing import FormatContract

QUICK = (*unasked(), "winnow", "huggingface")


class TestFormats(FormatContract):
    names = tuple(name for name in FORMATS.built_in() if name in QUICK)


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
class TestFormatsOfOtherTools(FormatContract):
    names = tuple(name for name in FORMATS.built_in() if name not in QUICK)
