"""Where the nodes stand in the menu."""

STYLE_NETWORK = "StyleDelta/style network"
LORA = "StyleDelta/LoRA"
NORMS = "StyleDelta/norms"
STATISTICS = "StyleDelta/statistics"
CONTROLNET = "StyleDelta/ControlNet"
HINTS = "StyleDelta/hints"
