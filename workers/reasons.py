"""Why a run failed, in a sentence for the user: what Winnow can know is said in its own words."""

from __future__ import annotations

from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from export.tools import is_disk_full
from plugins.entries import blamed
from plugins.registry import PluginError, UnknownPluginError
from quantization.calibration import CalibrationError
from search_space.family_files import culprit
from service.errors import ServiceError
from service.store.session import first_line
from supernet.data import DataError
from supernet.memory import OutOfMemory, is_out_of_memory

# Errors whose message was written for the user.
TOLD = (DataError, CalibrationError, PluginError, UnknownPluginError, ServiceError)


def reason_of(error: Exception) -> str:
    """Why a run failed. Never SQL, and "Internal error" for nothing but a mistake of ours."""
    theirs = culprit(error)
    if theirs is not None:
        return str(theirs)
    if isinstance(error, TOLD):
        return str(error)
    if (of_plugin := blamed(error)) is not None:
        return of_plugin
    if isinstance(error, ValidationError):
        wrong = "; ".join(str(one["msg"]).removeprefix("Value error, ") for one in error.errors())
        return f"What is stored of this job cannot be read by this installation: {wrong}"
    if isinstance(error, MemoryError | OutOfMemory) or (isinstance(error, RuntimeError) and is_out_of_memory(error)):
        return "Out of memory. Choose a smaller batch or a smaller space, or run it on a larger machine."
    if isinstance(error, OSError) and is_disk_full(error):
        return f"No room on the disk: {error}. Make room and try again."
    if isinstance(error, OSError) and error.filename is not None:
        return f"The worker cannot use {error.filename}: {error.strerror}."
    if isinstance(error, SQLAlchemyError):
        return f"Internal error. PostgreSQL refused what was to be stored: {first_line(error)}"
    return f"Internal error. {type(error).__name__}: {error}"
