"""Stitchable networks: one network a step, each as often as every other."""
