"""A whole job from one sentence: what a model and data are, decided and said. No torch."""
