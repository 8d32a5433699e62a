"""Low-rank factors, singular values, ranks and noise; knows nothing else of the house."""
