"""Learning one number of networks from few examples. Searches and predictors both use it; standard numerics only."""
