"""Every engine that measures of this repository keeps the contract."""

from plugins.kinds import RUNTIMES
from winnow.testing import RuntimeContract


class TestRuntimes(RuntimeContract):
    names = RUNTIMES.built_in()
