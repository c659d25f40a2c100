"""Model families, one file each. A family has `PRESETS` and `space(preset, adjustments) -> SearchSpace`."""
