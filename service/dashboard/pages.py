"""Pages of the dashboard. They read what the API reads and change things only through it."""

from __future__ import annotations

from fastapi import FastAPI


def install(app: FastAPI) -> None:
    """Add the pages and their static files to the app."""
