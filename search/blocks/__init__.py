"""Networks chosen block by block: scores of single blocks, terms for pairs, and an integer program over both."""
