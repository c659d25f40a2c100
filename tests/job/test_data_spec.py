"""DataSpec: what a client may say about data, and what is known of it before it is read."""

import pytest
from pydantic import ValidationError

from job.spec import JobSpec
from search_space.inputs import ImageInput, TokenInput

PARAMS = [{"metric": "params"}]


def job(data: dict[str, object], **parts) -> JobSpec:
    return JobSpec.model_validate({"data": data, **parts})


def test_another_source_starts_from_its_own_defaults():
    data = job({"source": "cifar10", "path": "/data"}).data
    assert data.validation_share == 0.1
    words = {"source": "cifar10", "path": "/data", "validation_share": 0.1, "limit": None, "corrupt_share": 0.01}
    assert data.model_dump() == words


def test_words_may_be_added_to_the_recipes_own_source():
    assert job({"validation_share": 0.3}).data.model_dump(exclude={"source"}) == {"validation_share": 0.3}


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


def test_what_follows_from_the_words_is_known_before_reading():
    assert job({"source": "digits"}).data.gives() == ImageInput(1, 8, 10)
    assert job({"source": "cifar10", "path": "/"}).data.gives() == ImageInput(3, 32, 10)
    text = {"source": "text", "path": "/", "length": 64}
    assert job(text, objectives=PARAMS).data.gives() == TokenInput(256, 64, 64, None)


@pytest.mark.parametrize(
    "data",
    [
        {"source": "text", "path": "/", "tokenizer": "somewhere"},
        {"source": "labelled_text", "path": "/"},
        {"source": "images", "path": "/"},
        {"source": "huggingface", "path": "/"},
    ],
)
def test_what_does_not_is_not(data):
    assert job(data, objectives=PARAMS).data.gives() is None
