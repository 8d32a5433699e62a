"""The mathematics of StyleDelta: torch, numpy, safetensors and Pillow only, never the host.

Each topic is a room; nothing is imported here, so that loading the pack stays cheap.
"""
