"""Whole model files: changed weight by weight, written tensor by tensor, read back."""
