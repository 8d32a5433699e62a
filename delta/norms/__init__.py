"""Styles that are norm parameters: their difference, mixing and training."""
