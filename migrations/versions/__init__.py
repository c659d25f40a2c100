"""One file per change, dated."""
