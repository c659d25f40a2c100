"""How a supernet's weights are trained: one folder per method, with `OPTIONS` in `options.py`, `METHOD` in `method.py`.

A method is made from its options. Its verb, `step`, adds the gradients of one training step to the
parameters' `.grad`; the trainer owns the optimizer, the schedule and checkpoints.
"""
