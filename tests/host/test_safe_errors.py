"""Halves of characters in a prompt: the error says them in writing, and the queue goes on."""

import pytest
from comfy_server import PromptError, ServerError

HALF = "caf\ud800.safetensors"
PROMPTS = {
    "a combo": {"1": {"class_type": "StyleDeltaLoadLora", "inputs": {"lora_name": HALF}}},
    "rows": {"1": {"class_type": "StyleDeltaLoraStack", "inputs": {"rows": f'[{{"name": "{HALF}"}}]'}}},
}
SHOWN = {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}


@pytest.mark.parametrize("name", PROMPTS)
def test_an_error_that_repeats_half_a_character_leaves_the_queue_alive(server, name):
    # Newer hosts refuse a combo by themselves.
    with pytest.raises((PromptError, ServerError)) as caught:
        server.run({**PROMPTS[name], "2": SHOWN}, timeout=60)
    assert name == "a combo" or "caf\\ud800" in str(caught.value)
    fine = {"1": {"class_type": "StyleDeltaLoraStack", "inputs": {"rows": "[]"}}, "2": SHOWN}
    assert server.run(fine, timeout=60)
