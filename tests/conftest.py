"""Settings that all tests share."""

from hypothesis import settings

# The same examples on every run and every machine, however slow it is.
settings.register_profile("winnow", derandomize=True, deadline=None, database=None, max_examples=100)
settings.load_profile("winnow")
