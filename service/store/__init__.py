"""Rows: the truth about every job. The queue only wakes people up."""
