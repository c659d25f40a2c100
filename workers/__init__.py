"""Hands: they do what a row asks for. Binds every other package together."""
