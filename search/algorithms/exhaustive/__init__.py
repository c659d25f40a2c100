"""Every architecture of a small space, once."""
