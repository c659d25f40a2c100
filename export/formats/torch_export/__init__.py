"""A program for PyTorch and C++."""
