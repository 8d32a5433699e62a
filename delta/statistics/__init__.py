"""Styles that are statistics of colours or features."""
