"""ProxylessNAS's weight steps: each trains one path."""
