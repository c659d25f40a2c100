"""The full network and random ones, weighed."""
