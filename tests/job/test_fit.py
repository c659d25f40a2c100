"""Spaces and data that fit, and sentences about those that do not."""

import pytest

from job.data_spec import DATA_MODELS
from job.fit import misfit, stated_misfit
from search_space import Choice, SearchSpace
from search_space.inputs import ImageInput, TokenInput
from search_space.layers import ConvSpec, ResizeSpec
from supernet.data.sources.digits.options import DigitsOptions

DIGITS = ImageInput(channels=1, size=8, classes=10)
TEXT = TokenInput(vocab=256, length=64, max_length=128, classes=2)


def space(takes, resize=False):
    def blueprint(values):
        stem = {"stem": ConvSpec(1, 4, 3, 1, 16, "ReLU")}
        return {"resize": ResizeSpec(1, int(values["size"])), **stem} if resize else stem

    return SearchSpace("s", [Choice("size", (16, 24))], blueprint=blueprint, takes=takes)


@pytest.mark.parametrize(
    ("takes", "gives", "expected"),
    [
        (DIGITS, ImageInput(1, 8, 10), None),
        (DIGITS, None, None),
        (DIGITS, ImageInput(3, 8, 10), "3 channels where 1 are needed"),
        (DIGITS, ImageInput(1, 28, 10), "28 pixels a side where 8 are needed, and its networks do not resize"),
        (DIGITS, ImageInput(1, 8, 26), "set supernet.classes to 26"),
        (DIGITS, TEXT, "choose a data source of the other kind"),
        (TEXT, DIGITS, "choose a data source of the other kind"),
        (TEXT, TEXT, None),
        (TEXT, TokenInput(200, 32, 32, 2), None),
        (TEXT, TokenInput(300, 32, 32, 2), "token ids go up to 299"),
        (TEXT, TokenInput(256, 200, 200, 2), "200 tokens at a time, but the networks have 128 positions"),
        (TEXT, TokenInput(256, 64, 64, 5), "set supernet.classes to 5"),
        (TEXT, TokenInput(256, 64, 64, None), "one is text to be continued"),
        (TokenInput(256, 64, 128, None, features=32), TEXT, "set supernet.classes to 2, and its networks"),
        (TokenInput(256, 64, 128, None, features=32), TokenInput(256, 64, 64, None), "have no head for that"),
    ],
)
def test_a_misfit_is_said_with_both_sides(takes, gives, expected):
    said = misfit(space(takes), "mine", gives)
    if expected is None:
        assert said is None
    else:
        assert expected in said
        assert str(takes) in said
        assert str(gives) in said


def test_networks_that_resize_take_images_of_another_size():
    assert misfit(space(ImageInput(1, 24, 10), resize=True), "mine", DIGITS) is None
    assert "classes" in misfit(space(ImageInput(1, 24, 9), resize=True), "mine", DIGITS)


def test_digits_are_what_they_say():
    from supernet.data import load_dataset

    data = load_dataset("digits", 0)
    channels, size, width = data.train.x.shape[1:]
    assert size == width
    assert DigitsOptions().gives() == ImageInput(channels, size, data.num_classes)


@pytest.mark.parametrize(
    ("takes", "words", "expected"),
    [
        (TokenInput(256, 32, 64, 2), {"source": "labelled_text", "length": 65}, "data.length is 65; choose at most 64"),
        (TokenInput(256, 32, 64, 2), {"source": "labelled_text", "length": 64}, None),
        (TokenInput(256, 32, 64, None), {"source": "text", "length": 65, "tokenizer": "/x"}, "choose at most 64"),
        (TokenInput(256, 32, 64, 2), {"source": "huggingface", "length": 512}, "data.length is 512"),
        (ImageInput(3, 32, 9), {"source": "images"}, "data.size is 224, and its networks do not resize; choose 32"),
        (ImageInput(3, 32, 9), {"source": "huggingface", "size": 32, "channels": 1}, "data.channels is 1; choose 3"),
        (ImageInput(3, 32, 9), {"source": "images", "size": 32}, None),
    ],
)
def test_what_the_words_of_a_job_say_is_judged_before_anybody_reads_the_data(takes, words, expected):
    data = DATA_MODELS[words["source"]].model_validate({"path": "/nowhere", **words})
    said = stated_misfit(space(takes), data)
    assert said is None if expected is None else expected in said
