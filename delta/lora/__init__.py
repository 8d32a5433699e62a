"""LoRAs: reading, naming, merging, baking, comparing, saving."""
