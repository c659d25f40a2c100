"""Latency tables: prices of whole networks against published numbers, and every way to get a file wrong."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from predictors.table_files import parse_table, read_table, table_text, write_table
from predictors.tables import LatencyTable, MissingRow, Row, key_of
from search_space.families.proxyless import PUBLISHED, candidates, fixed
from search_space.layers import ConvSpec, HeadSpec, MBConvSpec
from search_space.layers.precision import Precision
from search_space.plugins import load_family
from search_space.space import SearchSpace

PUBLISHED_TABLES = Path(__file__).parents[3] / "shared" / "data" / "latency_tables"
needs_published = pytest.mark.skipif(not PUBLISHED_TABLES.exists(), reason=f"no {PUBLISHED_TABLES}")


def own_table(space: SearchSpace, latency_ms: float = 0.5) -> LatencyTable:
    layers = [space.layers(space.sample(np.random.default_rng(seed))) for seed in range(40)]
    layers += [space.layers(space.largest()), space.layers(space.smallest())]
    return LatencyTable("laptop", {key_of(spec): Row(latency_ms) for net in layers for spec in net.values()})


def digits() -> SearchSpace:
    return load_family("mobilenet", preset="digits")


class TestPrices:
    def test_is_the_sum_of_rows_and_overhead(self) -> None:
        first, second = ConvSpec(1, 4, 3, 1, 8, "ReLU"), HeadSpec(4, 8, 10, 8, "ReLU")
        table = LatencyTable("laptop", {key_of(first): Row(2.0), key_of(second): Row(0.5)}, overhead_ms=0.25)
        assert table.price({"stem": first, "again": first, "head": second}) == 4.75
        assert table.layer_prices([first, second]) == [2.0, 0.5]
        assert table.layer_ms(second) == 0.5
        assert table.price([]) == 0.25

    def test_equal_layers_have_equal_keys_and_others_do_not(self) -> None:
        layers = [spec for net in (digits().smallest(), digits().largest()) for spec in digits().layers(net).values()]
        assert len({key_of(spec) for spec in layers}) == len(set(layers))
        assert key_of(ConvSpec(1, 4, 3, 1, 8, "ReLU")) == (
            "conv(in_channels=1,out_channels=4,kernel=3,stride=1,size=8,activation=ReLU,residual=False)"
        )

    def test_a_layer_without_a_row_is_named_never_guessed(self) -> None:
        space = digits()
        table = LatencyTable("laptop", {key_of(spec): Row(1.0) for spec in space.layers(space.smallest()).values()})
        with pytest.raises(MissingRow, match=r"'laptop' lacks \d+ rows: conv\(.*add them") as caught:
            table.price(space.layers(space.largest()))
        absent = [key_of(spec) for spec in space.layers(space.largest()).values()]
        assert set(caught.value.keys) == {key for key in absent if key not in table.rows}
        assert table.missing([space.layers(space.largest())]) == caught.value.keys
        unknown = next(spec for spec in space.layers(space.largest()).values() if key_of(spec) not in table.rows)
        with pytest.raises(MissingRow, match="lacks 1 row: "):
            table.layer_ms(unknown)

    def test_a_table_of_another_space_names_the_rows(self) -> None:
        other = load_family("vit", preset="cifar")
        with pytest.raises(MissingRow, match="encoder_layer"):
            own_table(digits()).price(other.layers(other.largest()))

    @pytest.mark.parametrize("latency", [0.0, -1.0, float("nan"), float("inf")])
    def test_impossible_latencies(self, latency: float) -> None:
        with pytest.raises(ValueError, match=r"ms for conv\(\)"):
            LatencyTable("laptop", {"conv()": Row(latency)})

    def test_impossible_tables(self) -> None:
        with pytest.raises(ValueError, match="no rows"):
            LatencyTable("laptop", {})
        with pytest.raises(ValueError, match=r"Unknown form.*winnow"):
            LatencyTable("laptop", {"a": Row(1.0)}, form="tflite")
        with pytest.raises(ValueError, match="overhead"):
            LatencyTable("laptop", {"a": Row(1.0)}, overhead_ms=-1.0)


class TestPrecisions:
    """One block at two precisions, measured wholly at each."""

    block = next(spec for spec in digits().layers(digits().largest()).values() if isinstance(spec, MBConvSpec))
    eight = Precision("int8_static")
    table = LatencyTable("laptop", {key_of(block): Row(4.0), key_of(block.uniform(eight)): Row(1.0)})

    def test_a_uniform_layer_has_its_own_row(self) -> None:
        assert self.table.layer_ms(self.block.uniform(Precision())) == 4.0
        assert self.table.layer_ms(self.block.uniform(self.eight)) == 1.0

    def test_a_mix_lies_between_by_the_share_of_its_parts(self) -> None:
        parts = self.block.quantizable()
        whole = sum(part.macs + part.live for part in parts.values())
        prices = []
        for chosen in parts:
            mixed = self.block.with_policy(tuple((n, self.eight if n == chosen else Precision()) for n in parts))
            share = (parts[chosen].macs + parts[chosen].live) / whole
            prices.append(self.table.layer_ms(mixed))
            assert prices[-1] == pytest.approx(4.0 * (1 - share) + 1.0 * share)
            assert self.table.layer_prices([mixed]) == prices[-1:]
        assert sum(4.0 - price for price in prices) == pytest.approx(3.0)

    def test_a_mix_that_was_measured_is_not_worked_out(self) -> None:
        first, *others = self.block.quantizable()
        mixed = self.block.with_policy(((first, self.eight), *((name, Precision()) for name in others)))
        table = LatencyTable("laptop", {**self.table.rows, key_of(mixed): Row(7.0)})
        assert table.layer_ms(mixed) == 7.0

    def test_a_precision_that_was_not_measured_is_named(self) -> None:
        table = LatencyTable("laptop", {key_of(self.block): Row(4.0)})
        first, *others = self.block.quantizable()
        mixed = self.block.with_policy(((first, self.eight), *((name, Precision()) for name in others)))
        with pytest.raises(MissingRow, match="int8_static"):
            table.layer_ms(mixed)


@needs_published
class TestPixel1:
    """ProxylessNAS's space priced with the authors' table; the whole-network numbers are theirs, added up."""

    table = read_table(PUBLISHED_TABLES / "pixel1_proxylessnas.csv") if PUBLISHED_TABLES.exists() else None
    space = load_family("proxyless", preset="imagenet")

    @pytest.mark.parametrize(
        ("operation", "latency_ms"), [("k3e3", 76.05), ("k5e3", 87.72), ("k3e6", 136.47), ("k7e6", 191.03)]
    )
    def test_one_operation_everywhere(self, operation: str, latency_ms: float) -> None:
        assert self.table
        blocks = {choice.name: operation for choice in self.space.choices if choice.name != "width"}
        network = self.space.architecture(width=1.0, **blocks)
        assert self.table.price(self.space.layers(network)) == pytest.approx(latency_ms, abs=0.005)

    def test_uniform_mixture(self) -> None:
        assert self.table
        options = candidates(self.space)
        fixed_part = sum(
            self.table.layer_ms(spec)
            for slot, spec in self.space.layers(self.space.largest()).items()
            if slot not in options
        )
        mixed = sum(
            float(np.mean([self.table.layer_ms(spec) if spec else 0.0 for spec in of_block.values()]))
            for of_block in options.values()
        )
        assert fixed_part + mixed == pytest.approx(113.99, abs=0.005)

    def test_the_released_network_has_rows_that_the_table_lacks(self) -> None:
        assert self.table
        released = fixed(PUBLISHED["proxyless_mobile"])
        with pytest.raises(MissingRow, match=r"lacks 3 rows: .*output:56x56x32"):
            self.table.price(released.layers(released.largest()))

    def test_written_and_read_it_is_the_same(self, tmp_path: Path) -> None:
        assert self.table
        write_table(self.table, tmp_path / "table.csv")
        assert read_table(tmp_path / "table.csv") == self.table


@needs_published
def test_note10_prices_a_block_and_a_head_of_once_for_all() -> None:
    table = read_table(PUBLISHED_TABLES / "note10_once_for_all.csv")
    assert (table.form, table.resolutions) == ("once_for_all", (160, 176, 192, 208, 224))
    stem = ConvSpec(3, 24, 3, 2, 224, "Hardswish")
    block = MBConvSpec(
        in_channels=48, hidden_channels=144, out_channels=48, kernel=3, stride=1, size=28,
        activation="ReLU", expand=True, project_shortcut=False, squeeze_channels=40,
    )  # fmt: skip
    head = HeadSpec(192, 1152, 1000, 7, "Hardswish", mix_channels=1536)
    parts = 0.994418 + 1.0648265 + (0.694356 + 0.015270707 + 0.762458 + 0.669412)
    assert table.price([stem, block, head]) == pytest.approx(parts)
    # A row of the same name has another latency at another resolution.
    small = ConvSpec(3, 24, 3, 2, 160, "Hardswish"), HeadSpec(192, 1152, 1000, 5, "Hardswish", mix_channels=1536)
    assert table.price(small) == pytest.approx(0.49556225 + 0.44568072 + 0.0084826884 + 0.74741165 + 0.65644088)
    with pytest.raises(ValueError, match="say which one"):
        table.layer_ms(block)
    assert table.layer_ms(block, resolution=224) == pytest.approx(1.0648265)


def test_a_quantized_layer_is_in_no_phones_table() -> None:
    stem = ConvSpec(3, 32, 3, 2, 224, "ReLU6")
    table = LatencyTable("phone", {"224/Conv-input:224x224x3-output:112x112x32": Row(4.0)}, "proxylessnas")
    assert table.price([stem]) == 4.0
    quantized = stem.with_policy((("conv", Precision("int8_static", "symmetric", 0)),))
    with pytest.raises(MissingRow, match="conv=int8_static"):
        table.price([quantized])


class TestFiles:
    def test_own_form_round_trip(self, tmp_path: Path) -> None:
        space = digits()
        rows = own_table(space).rows | {"mbconv(a=1,b=2)": Row(0.1, spread_ms=0.01, runs=300)}
        table = LatencyTable("cpu-onnxruntime", rows, overhead_ms=0.07)
        write_table(table, tmp_path / "table.csv")
        assert read_table(tmp_path / "table.csv") == table
        assert table_text(table).startswith("target,key,latency_ms,spread_ms,runs\ncpu-onnxruntime,overhead,0.07,,\n")

    def test_columns_may_be_in_any_order_and_optional_ones_left_out(self) -> None:
        table = parse_table("latency_ms,key,target\n1.5,stem,phone\n")
        assert table == LatencyTable("phone", {"stem": Row(1.5)})

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "columns none"),
            ("target,key\n", r"'key'.*latency_ms are needed"),
            ("target,key,latency_ms,colour\na,b,1,red\n", "'colour'"),
            ("target,key,latency_ms\n", "no rows"),
            ("target,key,latency_ms\na,b,-1\n", "line 2: -1 ms for b"),
            ("target,key,latency_ms\na,b,0\n", "line 2: 0 ms for b"),
            ("target,key,latency_ms\na,b,nan\n", "line 2: nan ms for b"),
            ("target,key,latency_ms\na,b,fast\n", "'fast' is not a number"),
            ("target,key,latency_ms\na,b,1\na,b,2\n", "line 3 gives b again, which line 2 gave"),
            ("target,key,latency_ms\na,b,1\nz,c,2\n", "2 targets: a, z"),
            ("target,key,latency_ms\na,b\n", "line 2 has 2 fields"),
            ("target,key,latency_ms\na,,1\n", "key is empty"),
            ("target,key,latency_ms,spread_ms\na,b,1,-2\n", "spread of -2"),
            ("target,key,latency_ms,runs\na,b,1,2.5\n", "'2.5' where a whole number"),
            ("lut,resolution,key,mean_ms\np,big,stem,1\n", "'big' is not a number"),
            ("lut,resolution,key,mean_ms\np,224,stem,1\np,224,stem,1\n", "line 3 gives 224/stem again"),
            ("target,key,latency_ms\n" + "a,b,-1\n" * 9, "line 6: -1 ms for b, .*; and 4 more lines"),
        ],
    )
    def test_what_is_wrong_is_said(self, text: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            parse_table(text)

    def test_not_a_text_file(self, tmp_path: Path) -> None:
        (tmp_path / "table.csv").write_bytes(b"\x93\xff\x00")
        with pytest.raises(ValueError, match=r"table\.csv is not a text file"):
            read_table(tmp_path / "table.csv")

    def test_a_phones_form_has_no_place_for_an_overhead(self) -> None:
        with pytest.raises(ValueError, match="no place"):
            table_text(LatencyTable("phone", {"224/Conv": Row(1.0)}, "proxylessnas", overhead_ms=0.1))


def test_a_table_that_is_no_csv_is_refused_and_any_end_of_a_line_is_one():
    text = "target,key,latency_ms\nphone,nothing,1\nphone,else,2\n"
    assert [parse_table(text.replace("\n", end)).rows for end in ("\r", "\r\n")] == [parse_table(text).rows] * 2
    with pytest.raises(ValueError, match="is no CSV"):
        parse_table("target,key,latency_ms\nphone," + "x" * (csv.field_size_limit() + 1))
