"""Texts with labels, tab- or comma-separated."""
