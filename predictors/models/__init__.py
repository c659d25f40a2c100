"""Ways to learn a number, one file each; each file names its class `MODEL`."""
