"""Logging of the worker processes: one line per event, on standard error."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.types import Processor


def configure_logging(*also: Processor) -> None:
    """Timestamps, levels and key=value pairs; no colour, because the lines end up in files.

    Args:
        also: see each line before it is rendered.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *also,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
