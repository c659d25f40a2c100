"""Which architectures are best. Numbers in, numbers out: no torch."""
