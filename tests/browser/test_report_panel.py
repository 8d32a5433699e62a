"""The report panel on its nodes: charts and text of a run, by mouse and keyboard, in both renderers and both themes."""

from __future__ import annotations

import json
import re

import pytest

KOHYA, DIFFUSERS, LOCON = (f"styledelta_demo_{name}.safetensors" for name in ("kohya", "diffusers", "locon"))
TUNED, BASE = "styledelta_demo_sd15_tuned.safetensors", "styledelta_demo_sd15.safetensors"
PANEL = ".styledelta-panel"


@pytest.fixture
def report(editor):
    """A LoRA Report that has run: (its charts, its text)."""
    lora = editor.add("StyleDeltaLoadLora", 0, 0, lora_name=KOHYA)
    node = editor.add("StyleDeltaLoraReport", 350, 0)
    editor.link(lora, 0, node, "lora_model")
    editor.show()
    assert "Run to see the report" in editor.element(PANEL).inner_text()
    outputs = editor.run()[str(node)]
    editor.show()
    return [json.loads(chart) for chart in outputs["styledelta_charts"]], outputs["text"][0]


def test_look(editor, report):
    editor.screenshot("report_panel")
    editor.element(f"{PANEL} .sd-plot svg").hover()
    editor.screenshot("report_panel_hover")
    editor.element(f"{PANEL} [role=tab]").nth(1).click()
    editor.element(f"{PANEL} .sd-toggle").click()
    editor.page.wait_for_timeout(200)
    editor.screenshot("report_panel_bars")
