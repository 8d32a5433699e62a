"""How a ControlNet acts: weights, schedule, mask, hint, stack."""
