"""Every export format of this repository keeps the contract."""

from plugins.kinds import FORMATS
from winnow.testing import FormatContract


class TestFormats(FormatContract):
    names = FORMATS.built_in()
