"""Every family and preset of this repository keeps the contract."""

from search_space.plugins import FAMILIES
from winnow.testing import FamilyContract


class TestFamilies(FamilyContract):
    names = FAMILIES.built_in()
