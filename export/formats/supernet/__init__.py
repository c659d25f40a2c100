"""A supernet in one file, with a picker."""
