"""ProxylessNAS: search by gradient on target hardware (arXiv 1812.00332), one strategy of the pipeline."""
