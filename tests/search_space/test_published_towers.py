"""Published counts of two-tower networks: parameters to the unit, MACs as open_clip's table has them."""

import pytest

from predictors.cost import costs
from search_space.plugins import load_family

# Unique parameters of transformers' classes at their own sizes; millions of MACs of an image and of a text.
PUBLISHED = {
    "clip_vit_base_patch32": (151_277_313, 4_408.8, 2_979.8),
    "clip_vit_base_patch16": (149_620_737, 17_563.5, 2_979.8),
    "siglip_base_patch16": (203_155_970, 17_708.3, 5_511.9),
}


def macs(layers, tower):
    return sum(spec.macs() for slot, spec in layers.items() if slot.startswith(tower)) / 1e6


@pytest.mark.parametrize("preset", PUBLISHED)
def test_a_published_network_is_counted_to_the_unit(preset):
    space = load_family("two_tower", preset)
    params, image, text = PUBLISHED[preset]
    layers = space.layers(space.largest())
    assert costs(space, space.largest())["params"] == params
    assert macs(layers, "image_") == pytest.approx(image, abs=0.06)
    assert macs(layers, "text_") == pytest.approx(text, abs=0.06)


def test_siglip_2_is_siglip_with_another_vocabulary():
    config = {"model_type": "siglip", "text_config": {"vocab_size": 256_000}}
    space = load_family("two_tower", None, None, config)
    assert costs(space, space.largest())["params"] == 375_187_970


def test_the_naflex_form_of_siglip_2_is_refused():
    from search_space.plugins import family_of

    with pytest.raises(ValueError, match=r"'siglip2'; supported are .*siglip"):
        family_of({"model_type": "siglip2"})


def test_the_image_tower_of_clip_is_counted_to_the_unit():
    space = load_family("two_tower", "clip_vit_base_patch32")
    layers = space.layers(space.largest())
    # With the projection.
    assert sum(spec.params() for slot, spec in layers.items() if slot.startswith("image_")) == 87_849_216


# --- an image and a text in one sequence ----------------------------------------------------------------------------

# Released for VQAv2 at 480 pixels, as torchscale's modules count: width, layers, heads, neurons; parameters.
ANSWERING = {"base": ((768, 12, 12, 3072), 228_110_649), "large": ((1024, 24, 16, 4096), 682_985_529)}


def unused(embed, ffn):
    """What nothing reads: of the text's half of the last layer queries, output, neurons and norms but the first; the
    mask token, and two rows of positions of each half."""
    attention = 2 * (embed * embed + embed) + 2 * embed
    neurons = (embed * ffn + ffn) + 2 * ffn + (ffn * embed + embed) + 2 * embed
    return attention + neurons + embed + 4 * embed


@pytest.mark.parametrize("size", ANSWERING)
def test_beit_3_for_vqa_is_counted_to_the_unit(size):
    (embed, layers, heads, ffn), published = ANSWERING[size]
    sizes = {"hidden_size": embed, "num_hidden_layers": layers, "num_attention_heads": heads}
    sizes |= {"image_intermediate_size": ffn, "text_intermediate_size": ffn}
    space = load_family("multiway", None, None, {"model_type": "beit3_vqa", "num_labels": 3129, **sizes})
    found = costs(space, space.largest())
    assert found["params"] == published - unused(embed, ffn)
    if size == "base":
        preset = load_family("multiway", "beit3_base_patch16_480")
        assert costs(preset, preset.largest()) == found
        assert unused(embed, ffn) == 5_916_672  # docs/families.md says it


def test_macs_of_one_sequence_are_those_of_its_length():
    image, text, embed, ffn, layers = 901, 64, 768, 3072, 12
    space = load_family("multiway", "beit3_base_patch16_480")
    tokens = image + text
    whole = tokens * (4 * embed * embed + 2 * embed * ffn) + 2 * tokens * tokens * embed
    last = image * (4 * embed * embed + 2 * embed * ffn) + text * 2 * embed * embed + 2 * image * tokens * embed
    patches = (image - 1) * 3 * 16 * 16 * embed
    head = embed * embed + 2 * embed * embed + 2 * embed * 3129
    assert costs(space, space.largest())["macs"] == (layers - 1) * whole + last + patches + head
