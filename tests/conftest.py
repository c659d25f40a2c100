"""Settings that all tests share."""

import os

from hypothesis import settings

# Threads of OpenMP that wait should sleep: where other programs use the cores, spinning ones made a
# training step of these tests six times as slow. The number of threads stays torch's default.
# Read when torch is loaded, so it is set before any test imports it.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# The same examples on every run and every machine, however slow it is.
settings.register_profile("winnow", derandomize=True, deadline=None, database=None, max_examples=100)
settings.load_profile("winnow")
