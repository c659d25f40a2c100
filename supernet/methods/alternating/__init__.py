"""Alternating fine-tuning: LLaMA-NAS and InstaTune."""
