"""Winnow's public door: what scripts, notebooks and plug-ins import.

    import winnow

    client = winnow.Client("http://127.0.0.1:8420")
    front = client.submit({"recipe": "bignas"}).wait().front
    front.to_pandas()
    front.plot(x="latency_ms").save("front.svg")
    front.best(under={"latency_ms": 5}).export("onnx").load()
    winnow.load("exports/JOB-NETWORK-onnx.tar.gz")  # later, without a service
    winnow.shrink("./my-model", "./my-images", under={"latency_ms": 5}).export.load()
    winnow.profile({"supernet": {"family": "mobilenet", "preset": "bignas"}}, limits={"macs": 3e8})

Everything is imported when it is first asked for, so `import winnow` costs next to nothing and brings no torch. What
is not reachable from here may change between versions.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from service.client import (
        AsyncClient,
        AsyncFrontAnswer,
        AsyncJobAnswer,
        AsyncNetworkAnswer,
        Client,
        ClientError,
        Event,
        ExportAnswer,
        FrontAnswer,
        JobAnswer,
        JobFailed,
        NetworkAnswer,
    )
    from service.front_plot import Plot, plot
    from service.profile import ProfileOut as Profile
    from winnow.loading import load
    from winnow.profiling import profile
    from winnow.shrinking import Shrunk, shrink

__all__ = [
    "AsyncClient",
    "AsyncFrontAnswer",
    "AsyncJobAnswer",
    "AsyncNetworkAnswer",
    "Client",
    "ClientError",
    "Event",
    "ExportAnswer",
    "FrontAnswer",
    "JobAnswer",
    "JobFailed",
    "NetworkAnswer",
    "Plot",
    "Profile",
    "Shrunk",
    "__version__",
    "load",
    "plot",
    "profile",
    "shrink",
]

__version__: str

# Name -> the module that has it, and what it is called there; all others are of `service.client`.
_HOMES = {
    "Plot": ("service.front_plot", "Plot"),
    "Profile": ("service.profile", "ProfileOut"),
    "Shrunk": ("winnow.shrinking", "Shrunk"),
    "load": ("winnow.loading", "load"),
    "plot": ("service.front_plot", "plot"),
    "profile": ("winnow.profiling", "profile"),
    "shrink": ("winnow.shrinking", "shrink"),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from service.version import version

        return version()
    if name not in __all__:
        raise AttributeError(f"module 'winnow' has no attribute {name!r}; it has {', '.join(__all__)}")
    module, own_name = _HOMES.get(name, ("service.client", name))
    return getattr(importlib.import_module(module), own_name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
