"""Any data set that Hugging Face's `datasets` can load."""
