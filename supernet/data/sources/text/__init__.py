"""Plain text for language models."""
