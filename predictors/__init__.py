"""How good or how costly an architecture is, without running it. No torch at import."""
