"""Every data source of this repository keeps the contract."""

from plugins.kinds import SOURCES
from winnow.testing import SourceContract


class TestSources(SourceContract):
    names = SOURCES.built_in()
