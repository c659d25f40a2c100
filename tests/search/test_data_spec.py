"""DataSpec: what a client may say about data, and what is known of it before it is read."""

import pytest
from pydantic import ValidationError

from search.data_spec import DataShape
from search.spec import JobSpec
from search_space.inputs import ImageInput, TokenInput

IMAGES = ImageInput(channels=3, size=32, classes=10)
CAUSAL = TokenInput(vocab=256, length=64, max_length=128, classes=None)
SENTENCES = TokenInput(vocab=256, length=64, max_length=128, classes=2)


def job(data: dict[str, object], **parts) -> JobSpec:
    return JobSpec.model_validate({"data": data, **parts})


def test_another_source_starts_from_its_own_defaults():
    data = job({"source": "cifar10", "path": "/data"}).data
    assert data.validation_share == 0.1
    assert data.options() == {"path": "/data", "validation_share": 0.1, "limit": None, "corrupt_share": 0.01}


def test_words_may_be_added_to_the_recipes_own_source():
    assert job({"validation_share": 0.3}).data.options() == {"validation_share": 0.3}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"source": "cifar10"}, "path"),
        ({"source": "digits", "path": "/"}, "Extra inputs"),
        ({"source": "digits", "validation_share": 0}, "greater than 0"),
        ({"source": "digits", "validation_share": 1}, "less than 1"),
        ({"source": "images", "path": "/", "channels": 2}, "1 or 3"),
        ({"source": "images", "path": "/", "limit": 1}, "greater than or equal to 2"),
        ({"source": "text", "path": "/", "length": 1}, "greater than or equal to 2"),
        ({"source": "letters"}, "No data source named 'letters'. Known: cifar10"),
        ({"path": 3, "source": "text"}, "valid string"),
    ],
)
def test_what_cannot_be_is_refused(data, said):
    with pytest.raises(ValidationError) as raised:
        job(data, objectives=[{"metric": "macs"}])
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("data", "metric", "right"),
    [
        ({"source": "text", "path": "/play.txt"}, "accuracy", "perplexity"),
        ({"source": "digits"}, "perplexity", "accuracy"),
        ({"source": "labelled_text", "path": "/x.tsv"}, "perplexity", "accuracy"),
    ],
)
def test_a_metric_that_the_data_does_not_have_is_refused(data, metric, right):
    with pytest.raises(ValidationError, match=f"ask for {right} instead"):
        job(data, objectives=[{"metric": metric}])


@pytest.mark.parametrize(
    ("shape", "takes", "reason"),
    [
        (DataShape("image", channels=3, size=32, classes=10), IMAGES, None),
        (DataShape("image", channels=3, size=224, classes=10), IMAGES, None),
        (DataShape("image", channels=3), IMAGES, None),
        (DataShape("image", channels=1, classes=10), IMAGES, "it has 1 channels and they take 3"),
        (DataShape("image", channels=3, classes=100), IMAGES, "it has 100 classes and they take 10"),
        (DataShape("text", vocab=256, length=64), IMAGES, "it gives text, and they take images"),
        (DataShape("text", vocab=256, length=64), CAUSAL, None),
        (DataShape("text", vocab=None, length=64), CAUSAL, None),
        (DataShape("text", vocab=300, length=64), CAUSAL, "it has 300 token ids and they take 256"),
        (DataShape("text", vocab=256, length=129), CAUSAL, "longer than the 128"),
        (DataShape("text", vocab=256, length=64), SENTENCES, "it gives text"),
        (DataShape("labelled text", vocab=256, length=64, classes=2), SENTENCES, None),
        (DataShape("labelled text", vocab=256, length=64), CAUSAL, "it gives labelled text"),
        (DataShape(None), IMAGES, None),
        (DataShape("image", channels=3), None, None),
    ],
)
def test_networks_and_data_that_do_not_fit_are_told_apart(shape, takes, reason):
    said = shape.misfit(takes)
    assert said is None if reason is None else reason in said
