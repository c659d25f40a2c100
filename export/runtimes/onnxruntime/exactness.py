"""How many bits of weights ONNX Runtime multiplies with bytes exactly on this machine. Standard library only.

Its kernels for processors without VNNI add two products of unsigned and signed bytes in 16 bits, which saturate.
Weights of seven bits fit; of eight they are wrong, with no warning. See docs/decisions/0149.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
# Flags of x86 processors that add four products in 32 bits.
EXACT_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8"})
X86 = ("x86_64", "AMD64", "i386", "i686")
PROBE_SECONDS = 60
# Session option with which ONNX Runtime turns signed weights into unsigned ones as it loads a file: exact everywhere,
# and slower (docs/decisions/0149).
EXACTLY = "session.x64quantprecision"
# A clause about kernels where `exact_weight_bits` is 7.
INEXACT = "saturate without VNNI, or nobody could find out whether they do"

# A product of four bytes of 255 with four weights of 127: one MatMulInteger of opset 13, 112 bytes. The same lines are
# part of what reloads `model.onnx`, where Winnow is not there.
SATURATES = """
def saturates():
    import base64, numpy, onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    model = base64.b64decode(
        "CAg6ZgoYCgF4CgF3EgF5Ig1NYXRNdWxJbnRlZ2VyEgFnKhsIBAgEEANCAXdKEH9/f39/f39/f39/f39/f39aFAoBeBIPCg0IAhIJCgMSAW4K"
        "AggEYhQKAXkSDwoNCAYSCQoDEgFuCgIIBEIECgAQDQ=="
    )
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    products = [session.run(None, {"x": numpy.full((rows, 4), 255, numpy.uint8)})[0] for rows in (1, 8)]
    return any((product != 4 * 255 * 127).any() for product in products)
"""


def exact_weight_bits() -> int:
    """8 where products of bytes are exact here, else 7; also 7 where ONNX Runtime does not run.

    A processor whose flags say that it cannot is not asked. Any other computes one product, in a process of its own.
    """
    try:
        return _found()
    except (OSError, subprocess.TimeoutExpired):
        return 7  # the machine is busy, say: it is asked again the next time


@cache
def _found() -> int:
    """What was found out once.

    Raises:
        OSError, subprocess.TimeoutExpired: nobody could be asked.
    """
    flags = _flags()
    if platform.machine() in X86 and flags is not None and not flags & EXACT_FLAGS:
        return 7
    command = [sys.executable, "-I", "-B", "-c", f"{SATURATES}\nprint(saturates())"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
    return 8 if done.stdout.strip() == "False" else 7


def _flags() -> frozenset[str] | None:
    """Flags of this processor; None where the system does not say."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    found = next((line for line in lines if line.startswith("flags")), None)
    return None if found is None else frozenset(found.split(":", 1)[1].split())
