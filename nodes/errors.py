"""What a node repeats of its inputs in an error, as the host can write it to its log."""

from __future__ import annotations

from comfy_api.latest import io

from ..delta.files.safe_text import with_writable_errors

# What the host calls, besides the schema.
CALLED = ("execute", "fingerprint_inputs")


def with_safe_errors(node: type[io.ComfyNode]) -> type[io.ComfyNode]:
    """The node itself, after its own methods that the host calls were made to raise errors that can be written."""
    for name in CALLED:
        method = getattr(node, name).__func__
        if method is not getattr(io.ComfyNode, name).__func__:
            setattr(node, name, classmethod(with_writable_errors(method)))
    return node
