"""Style networks, whose style is the gamma and beta of their instance norms."""
