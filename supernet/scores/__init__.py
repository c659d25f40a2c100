"""Scores: what networks are asked, and how their answers become numbers."""
