"""Heterogeneous llamas for serving engines."""
