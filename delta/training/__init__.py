"""Styles that are trained: norm parameters, biases and LoRAs of a frozen model."""
