"""PyTorch, eager or compiled."""
