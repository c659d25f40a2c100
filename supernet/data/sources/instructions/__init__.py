"""Questions with answers for language models: what is learned is the answers alone."""
