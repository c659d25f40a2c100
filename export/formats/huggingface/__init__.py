"""A folder that transformers loads."""
