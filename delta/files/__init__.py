"""Reading and writing files of tensors: models weight by weight, adapters, and what kind a file is."""
