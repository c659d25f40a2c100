"""One architecture, trained plainly."""
