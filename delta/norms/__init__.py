"""Styles that are norm parameters: their difference and mixing."""
