"""A folder of images, one folder per class."""
