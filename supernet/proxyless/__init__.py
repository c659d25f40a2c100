"""ProxylessNAS (arXiv 1812.00332): a network of all candidates, one path of which runs at a time, and its search."""
