"""Prices of candidates, on the published table of a Pixel 1."""

from pathlib import Path

import pytest

from predictors.candidate_prices import candidate_networks, price_candidates
from predictors.table_files import read_table
from predictors.tables import LatencyTable, MissingRow, Row, key_of
from search_space.operations import blocks_of
from search_space.plugins import load_family

PIXEL_1 = Path(__file__).parents[3] / "shared" / "data" / "latency_tables" / "pixel1_proxylessnas.csv"
DIGITS = load_family("proxyless", "digits")


def own_table(space, missing=None) -> LatencyTable:
    """One ms for every million MACs and a hundredth on top, for every layer but one."""
    specs = {spec for network in candidate_networks(space) for spec in network.values()}
    rows = {key_of(spec): Row(spec.macs() / 1e6 + 0.01) for spec in specs if spec != missing}
    return LatencyTable("made-up", rows, overhead_ms=0.5)


def test_the_price_of_a_network_is_that_of_its_candidates():
    table = own_table(DIGITS)
    prices = price_candidates(DIGITS, table)
    blocks = blocks_of(DIGITS)
    for architecture in (DIGITS.smallest(), DIGITS.largest()):
        chosen = [block.options.index(architecture.values[block.choice]) for block in blocks.searched]
        total = prices.fixed_ms + sum(ms[i] for ms, i in zip(prices.blocks_ms, chosen, strict=True))
        assert total == pytest.approx(table.price(DIGITS.layers(architecture)), rel=1e-12)
    assert prices.blocks_ms[1][0] == 0


def test_missing_rows_are_named():
    missing = DIGITS.layers(DIGITS.largest())["stage2_block2"]
    with pytest.raises(MissingRow, match="lacks 1 row: mbconv") as caught:
        price_candidates(DIGITS, own_table(DIGITS, missing))
    assert caught.value.keys == (key_of(missing),)


def test_a_table_of_another_space_is_refused():
    with pytest.raises(MissingRow, match=r"lacks \d+ rows: conv\(.*; and \d+ more"):
        price_candidates(load_family("proxyless", "cifar"), own_table(DIGITS))


@pytest.mark.skipif(not PIXEL_1.exists(), reason=f"no {PIXEL_1}")
def test_the_published_table_prices_the_papers_space():
    """Check values from the published Pixel 1 table; the uniform one is E[latency] at the start of a search."""
    space = load_family("proxyless", "imagenet")
    prices = price_candidates(space, read_table(PIXEL_1))
    blocks = blocks_of(space)

    def all_of(operation):
        return prices.fixed_ms + sum(
            ms[block.options.index(operation)] for block, ms in zip(blocks.searched, prices.blocks_ms, strict=True)
        )

    assert all_of("k3e3") == pytest.approx(76.05, abs=0.005)
    assert all_of("k7e6") == pytest.approx(191.03, abs=0.005)
    assert prices.fixed_ms + sum(sum(ms) / len(ms) for ms in prices.blocks_ms) == pytest.approx(113.99, abs=0.005)
