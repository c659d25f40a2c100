"""HTTP: one file per noun, all under /v1."""
