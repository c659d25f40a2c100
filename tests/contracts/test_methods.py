"""Every training method of this repository keeps the contract."""

from plugins.kinds import METHODS
from winnow.testing import MethodContract


class TestMethods(MethodContract):
    names = METHODS.built_in()
