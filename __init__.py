"""StyleDelta: stack, merge, extract, swap and inspect the small deltas that make a style."""

from .nodes import StyleDeltaExtension

WEB_DIRECTORY = "./js"


async def comfy_entrypoint() -> StyleDeltaExtension:
    return StyleDeltaExtension()
