"""Random search without repetition."""
