"""Winnow: self-hosted neural architecture search."""
