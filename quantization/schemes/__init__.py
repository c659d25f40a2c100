"""Quantization schemes, one file each: `KERNELS`, `quantize` and `plan` (see `quantization.layer.SchemeFile`).

What a scheme stores, and so its bytes, stands in `search_space.layers.precision.SCHEMES` under the file's name.
"""
