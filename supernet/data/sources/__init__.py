"""Where data comes from: one file per source, each with a frozen dataclass `SOURCE` of its options."""
