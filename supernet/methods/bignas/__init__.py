"""BigNAS: sandwich rule with in-place distillation."""
