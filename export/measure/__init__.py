"""Latency of exported networks on this machine, in processes of their own. Method: docs/measuring.md.

bench.py     the parent: processes, interleaved blocks, results
child.py     the measuring process
spread.py    from single runs to a number with its interval
machine.py   the machine in words, its clocks and memory
energy.py    a GPU's energy counter
"""

from __future__ import annotations

from export.measure.bench import measure, measure_many
from export.measure.machine import cpu_name, describe_machine
from predictors.readings import MeasurementError
from predictors.setting import Effort, Setting

__all__ = [
    "Effort",
    "MeasurementError",
    "Setting",
    "cpu_name",
    "describe_machine",
    "measure",
    "measure_many",
]
