"""LoRAs from the difference of two models."""
