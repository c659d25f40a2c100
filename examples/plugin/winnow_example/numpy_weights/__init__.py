"""Weights as NumPy writes them."""
