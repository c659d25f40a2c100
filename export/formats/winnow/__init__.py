"""Weights with the source of the network."""
