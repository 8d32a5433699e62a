"""Control-LoRAs: the format, extraction, resizing, baking and saving."""
