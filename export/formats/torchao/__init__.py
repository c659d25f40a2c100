"""Weight-only integers for GPUs, by torchao."""
