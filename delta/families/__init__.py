"""What the pack knows of model families."""
