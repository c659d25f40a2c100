import numpy as np
import pytest

from predictors.cost import weight_bytes
from quantization.policies import Quantization
from quantization.quantized_space import QuantizedSpace
from search_space import Choice, SearchSpace
from search_space.encoding import decode, encode
from search_space.layers import Precision
from search_space.plugins import load_family

SPACES = [("mobilenet", "digits"), ("resnet", "ofa_resnet50"), ("vit", "cifar"), ("bert", "tiny"), ("llama", "tiny")]


def quantized(family="mobilenet", preset="digits", **asked) -> QuantizedSpace:
    return QuantizedSpace(load_family(family, preset), Quantization(**{"bits": (8, 32), **asked}))


def names(space: QuantizedSpace) -> set[str]:
    return {choice.name for choice in space.choices if choice.name.endswith(("_bits", "_weights"))}


# --- choices ----------------------------------------------------------------------------------------


def test_simq_nas_resnet50_has_a_choice_for_each_of_its_61_convolutions_and_the_classifier():
    space = quantized("resnet", "ofa_resnet50", modes=("symmetric", "asymmetric"))
    bits = {name for name in names(space) if name.endswith("_bits")}
    assert len(bits - {"head_classifier_bits", "classifier_classifier_bits"}) == 61
    assert len(names(space)) == 2 * len(bits)


def test_bert_base_has_six_choices_a_layer_and_the_pooler():
    assert len(names(quantized("bert", "bert_base"))) == 12 * 6 + 1


@pytest.mark.parametrize(("family", "preset"), SPACES, ids="/".join)
def test_dead_genes_leave_no_trace_and_live_ones_do(family, preset):
    bits = (4, 8, 16) if family == "llama" else (8, 32)
    space = quantized(family, preset, bits=bits, modes=("symmetric", "asymmetric"))
    rng = np.random.default_rng(0)
    start = len(space.base.choices)
    for _ in range(6):
        architecture = space.sample(rng)
        active, bytes_ = space.is_active(architecture), weight_bytes(space, architecture)
        layers = space.layers(architecture)
        for i in range(start, len(space.choices), 3):
            genes = list(architecture.genes)
            genes[i] = (genes[i] + 1) % len(space.choices[i].options)
            other = space.from_genes(genes)
            if active[i]:
                assert other.id != architecture.id
                assert space.layers(other) != layers, space.choices[i].name
                assert weight_bytes(space, other) != bytes_ or space.choices[i].name.endswith("_weights")
            else:
                assert other.id == architecture.id


def test_the_policy_is_that_of_the_layers_that_are_there():
    space = quantized()
    architecture = space.quantized(space.base.smallest(), 8)
    layers = space.base.layers(space.base.smallest())
    expected = [f"{slot}.{part}" for slot, spec in layers.items() for part in spec.quantizable()]
    assert list(space.policy(architecture)) == expected
    assert set(space.policy(architecture).values()) == {Precision("int8_static")}
    assert space.network(architecture) == space.base.smallest()


def test_the_encoding_carries_the_policy():
    space = quantized("vit", "cifar", modes=("symmetric", "asymmetric"))
    architectures = [space.sample(np.random.default_rng(seed)) for seed in range(5)]
    assert decode(space, encode(space, architectures)) == architectures


def test_a_layer_whose_presence_hangs_on_two_widths_shares_a_choice_of_its_block():
    space = quantized()  # a shortcut's projection is there if two widths differ
    assert "stage1_block1_shortcut_bits" not in names(space)
    values = {**space.largest().values, "stage1_width": 4, "stage1_block1_project_bits": 8}
    policy = space.policy(space.architecture(**values))
    assert policy["stage1_block1.shortcut"].bits == policy["stage1_block1.project"].bits == 8
    assert policy["stage1_block1.depthwise"].bits == 32


def test_depthwise_layers_have_no_mode_that_their_kernels_are_not_made_for():
    space = quantized(modes=("symmetric", "asymmetric"))
    assert "stage1_block1_project_weights" in names(space)
    assert "stage1_block1_depthwise_bits" in names(space)
    assert "stage1_block1_depthwise_weights" not in names(space)
    for made in (space, quantized(modes=("asymmetric",)), quantized(modes=("symmetric", "asymmetric"), tie="block")):
        policy = made.policy(made.quantized(made.base.largest(), 8, "asymmetric"))
        modes = {name: precision.mode for name, precision in policy.items()}
        assert {mode for name, mode in modes.items() if name.endswith(".depthwise")} == {"symmetric"}
        assert {mode for name, mode in modes.items() if not name.endswith(".depthwise")} == {"asymmetric"}


def test_a_layer_wholly_at_one_precision_is_one_that_a_policy_can_give_it():
    space = quantized(modes=("symmetric", "asymmetric"))
    block = space.base.layers(space.base.largest())["stage1_block1"]
    asymmetric = Precision("int8_static", "asymmetric")
    assert (
        block.uniform(asymmetric)
        == space.layers(space.quantized(space.base.largest(), 8, "asymmetric"))["stage1_block1"]
    )
    assert asymmetric.of("conv") == asymmetric
    assert asymmetric.of("depthwise") == Precision("int8_static")
    assert Precision("int8_weight").of("conv") == Precision()


@pytest.mark.parametrize(
    ("tie", "some", "count"),
    [
        ("block", {"stem_bits", "stage1_block2_bits", "head_bits"}, 8),
        ("stage", {"stem_bits", "stage1_bits", "head_bits"}, 5),
        ("kind", {"conv_conv_bits", "mbconv_expand_bits", "mbconv_depthwise_bits", "head_classifier_bits"}, None),
    ],
)
def test_policies_can_be_tied(tie, some, count):
    space = quantized(tie=tie)
    assert some <= names(space)
    assert count is None or len(names(space)) == count
    assert space.size() < quantized().size()
    eight = space.policy(space.quantized(space.base.largest(), 8))
    assert {precision.bits for precision in eight.values()} == {8}


def test_first_and_last_layer_and_patterns_can_be_pinned():
    space = quantized(pinned={"first": 32, "last": 8, "stage1_*": 32})
    assert not {"stem_conv_bits", "head_classifier_bits", "stage1_block1_project_bits"} & names(space)
    policy = space.policy(space.quantized(space.base.largest(), 8))
    assert policy["stem.conv"].bits == 32
    assert policy["head.classifier"].bits == 8
    assert policy["stage1_block1.expand"].bits == 32
    assert policy["stage2_block1.expand"].bits == 8


def test_a_layer_without_kernels_for_a_width_keeps_its_own():
    space = quantized("vit", "cifar", bits=(4, 8, 32), schemes={8: "int8_weight"})
    assert "embedding_patches_bits" not in names(space)
    assert space.policy(space.smallest())["embedding.patches"].is_full


def test_seeds_get_the_widths_that_they_ask_for():
    space = quantized(tie="block")
    one = space.policy(space.quantized(space.base.largest(), {"stem.conv": 8, "head.conv": 8}))
    assert one["stem.conv"].bits == 8
    # The head's layers share a choice, and its other layer wants 32 bits.
    assert one["head.conv"].bits == 32


# --- bytes ------------------------------------------------------------------------------------------


def test_bytes_of_a_convolution_by_hand():
    space = quantized(modes=("symmetric",))
    layer = space.layers(space.quantized(space.base.largest(), 8))["stem"]
    outputs, weights = 16, 16 * 9
    # weights, scales and zero points, bias with scales, scale and zero point of input and output
    assert layer.weight_bytes() == weights + 5 * outputs + 8 * outputs + 2 * 5
    full = space.layers(space.largest())["stem"]
    assert full.weight_bytes() == 4 * weights + 4 * outputs


def test_bytes_of_a_four_bit_linear_layer_by_hand():
    precision = Precision("int4_weight", group=32)
    # 100 inputs are 4 groups of 32, half a byte each, with a scale
    assert precision.stored_bytes("linear", 100 * 7, 7, True) == 7 * 4 * 16 + 7 * 4 * 4 + 7 * 4
    assert Precision("bf16").stored_bytes("linear", 700, 7, True) == 1414


def test_a_policy_changes_neither_params_nor_what_builds_the_block():
    space = quantized()
    for slot, spec in space.layers(space.smallest()).items():
        plain = space.base.layers(space.base.smallest())[slot]
        assert spec.fields() == plain.fields()
        assert spec.params() == plain.params()
        assert spec.fits_in(space.capacity()[slot])
        assert (spec == plain) == (not spec.quantizable())


# --- bad input --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"bits": (2, 8)}, "no kernels for 2 bits. Possible widths: 4, 8, 16, 32"),
        ({"bits": (8, 32), "schemes": {8: "int4_weight"}}, "has 4 bits, not 8"),
        ({"bits": (8, 32), "schemes": {8: "int7"}}, "No quantization scheme named 'int7'"),
        ({"bits": (8, 32), "pinned": {"stem.conf": 8}}, "has no layer 'stem.conf'. Its layers: stem.conv"),
        ({"bits": (8, 32), "layers": {"nowhere*": (8,)}}, "has no layer 'nowhere\\*'"),
        ({"bits": (8, 32), "pinned": {"first": 32}, "layers": {"stem.*": (8, 32)}}, "pinned to 32 bits and searched"),
        ({"bits": (8, 32), "layers": {"stem.conv": (4,)}}, "'int4_weight' .4 bits. has no kernels"),
        ({"bits": (8, 32), "tie": "network"}, "tied per layer, block, stage, kind; got 'network'"),
        ({"bits": (4, 32), "pinned": {"*": 32}}, "Nothing of space 'mobilenet/digits' can be quantized"),
        ({"bits": (4, 32), "group": 7}, "no groups of 7"),
    ],
)
def test_policies_that_cannot_be_are_refused(asked, says):
    with pytest.raises(ValueError, match=says):
        quantized(**asked)


def test_a_space_without_layers_is_refused():
    with pytest.raises(ValueError, match="has no layers"):
        QuantizedSpace(SearchSpace("table", [Choice("e", (0, 1))]), Quantization((8, 32)))


def test_a_spec_refuses_a_part_that_it_does_not_have():
    layer = load_family("mobilenet", "digits").capacity()["stem"]
    with pytest.raises(ValueError, match="no quantizable part 'query'"):
        layer.with_policy((("query", Precision()),))
