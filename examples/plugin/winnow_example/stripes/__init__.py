"""Images of stripes."""
