"""One set of weights for a whole search space. PyTorch lives here."""
