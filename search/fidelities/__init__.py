"""Scores of networks that have healed a little, as fidelities of one search: which climb, and what is learned."""
