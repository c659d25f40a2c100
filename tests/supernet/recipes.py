"""Options of trainings that several tests share."""

from typing import Any

from supernet.trainer import TrainingOptions

# The published optimizer of BigNAS, for a few steps on digits.
FEW_STEPS = TrainingOptions(
    epochs=3,
    batch_size=16,
    optimizer="rmsprop",
    learning_rate=0.004,
    lr_decay=0.97,
    lr_decay_epochs=2.4,
    lr_floor=0.05,
    weight_decay=1e-5,
    momentum=0.9,
    clip_norm=5.0,
)


def changed(options: TrainingOptions, **changes: Any) -> TrainingOptions:
    """The same with other values."""
    return TrainingOptions.model_validate({**options.model_dump(), **changes})
