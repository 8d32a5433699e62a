"""Hints for ControlNets, drawn from pictures without a model.

Each hint is one pure function from a picture [H, W, 3], float32 in 0..1, to its hint: [H, W] for lines, [H, W, 3] for
colours. `delta.hints.batch` runs one over a batch of pictures; `delta.hints.work` is what it is told beside its settings.
"""
