"""Ordinary modules, one file per layer kind; each file names its class `BLOCK`.

A block's constructor arguments are the fields of its layer spec, and the file imports torch alone:
an export copies the file's source into the bundle, so that the network loads without Winnow.
"""
