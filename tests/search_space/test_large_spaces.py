"""A space of seven billion parameters is described and costed without its weights."""

import subprocess
import sys

import pytest

SCRIPT = r"""
import re, sys
import numpy as np
from predictors.cost import costs
from search_space.plugins import load_family
space = load_family("llama", "llama2_7b")
rng = np.random.default_rng(0)
for over in ("genes", "params", "macs"):
    for _ in range(100):
        assert costs(space, space.sample(rng, over))["params"] > 3e9
assert space.capacity()
# Of this process alone: what getrusage gives includes the memory of the process that started it.
print(int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[1]) * 1024)
assert "torch" not in sys.modules
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's unit of peak memory")
def test_peak_memory_of_sampling_and_costing_llama_2_7b_is_under_half_a_gigabyte():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 500e6
