"""Where data comes from: one folder per source, with `OPTIONS` in `options.py` and `SOURCE` in `source.py`.

`example.py` writes a miniature of the data, with which the contract tries the source.
"""
