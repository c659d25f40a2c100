"""A job may name the plug-ins."""

from job.spec import JobSpec


def test_a_job_names_every_plug_in_and_is_completed_by_their_defaults() -> None:
    spec = JobSpec.model_validate(
        {
            "data": {"source": "stripes", "directions": 10},
            "training": {"method": "balanced", "options": {"weight": 0.25}},
            "search": {"algorithm": "hill_climb"},
        }
    )
    assert spec.data.model_dump()["count"] == 60
    assert spec.training.options == {"weight": 0.25, "num_random": 1, "label_smoothing": 0.0}
    assert spec.search.options == {"batch": 10, "neighbours": 20}
    assert JobSpec.model_validate(spec.model_dump(mode="json")) == spec
