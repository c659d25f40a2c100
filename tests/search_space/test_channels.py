"""Rounding of channels."""

import pytest

from search_space.channels import make_divisible, refuse_twins


@pytest.mark.parametrize(
    ("channels", "rounded"),
    [
        (3, 8),  # at least one multiple
        (11.9, 16),  # 8 would be below 0.9 of it
        (12, 16),  # halfway goes up
        (8.8, 8),
        (20, 24),
        (83, 80),  # 80 is above 0.9 of it
        (33.6, 32),
        (819.2, 816),
        (256, 256),
    ],
)
def test_make_divisible(channels, rounded):
    assert make_divisible(channels) == rounded


def test_options_that_rounding_makes_one_are_refused():
    with pytest.raises(ValueError, match=r"Options 0\.25 and 0\.26 of choice 'e' both give 40 channels"):
        refuse_twins("e", (0.2, 0.25, 0.26), lambda e: make_divisible(160 * e))


def test_options_that_stay_different_pass():
    refuse_twins("e", (0.2, 0.25, 0.35), lambda e: make_divisible(160 * e))
