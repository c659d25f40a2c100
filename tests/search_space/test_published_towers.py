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
