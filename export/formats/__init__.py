"""File formats of an export, one folder each; every export is written in all of them.

`options.py` says what it is in a sentence, `MEANING`. `format.py` has `write(network, example, folder)`, which adds its
files to the bundle. It has `RELOAD` too, the source of a function `reload(folder)`, by which a clean process gets the
network back as a function from a float32 array to logits. `TOLERANCE` is the largest absolute difference of logits that
counts as equal, `PACKAGES` what loading may import. `REFERENCE(network)`, where a format has it, gives the network
whose logits its file must give: one of 16-bit weights, say, whose file holds them as float32. The clean process has
the exporter's number of threads in OMP_NUM_THREADS.
"""
