"""Plug-ins for Winnow."""
