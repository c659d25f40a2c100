"""Winnow's own search: few evaluations, each chosen with care."""
