"""The report panel on its nodes: charts and text of a run, by mouse and keyboard, in both renderers and both themes."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Locator, expect

KOHYA, DIFFUSERS, LOCON = (f"styledelta_demo_{name}.safetensors" for name in ("kohya", "diffusers", "locon"))
TUNED, BASE = "checkpoints/styledelta_demo_sd15_tuned.safetensors", "checkpoints/styledelta_demo_sd15.safetensors"
QUIET = "Run to see the report."


class Ran(NamedTuple):
    """A node after a run. charts, text: what the server sent for it."""

    node: int
    panel: Locator
    charts: list[dict[str, Any]]
    text: str


def panel_of(editor, index: int = 0) -> Locator:
    return editor.element(".styledelta-panel").nth(index)


def run(editor, node: int, panel: Locator) -> Ran:
    outputs = editor.run()[str(node)]
    panel.locator(".sd-text").wait_for(state="attached")
    editor.show()
    return Ran(node, panel, [json.loads(chart) for chart in outputs["styledelta_charts"]], outputs["text"][0])


def add_report(editor) -> int:
    lora = editor.add("StyleDeltaLoadLora", 0, 0, lora_name=KOHYA)
    node = editor.add("StyleDeltaLoraReport", 350, 0)
    editor.link(lora, 0, node, "lora_model")
    editor.show()
    return node


@pytest.fixture
def report(editor) -> Ran:
    """A LoRA Report that has run."""
    return run(editor, add_report(editor), panel_of(editor))


@pytest.fixture
def comparison(editor) -> Ran:
    """Three LoRAs compared, with their heat-maps."""
    node = editor.add("StyleDeltaCompareLoras", 350, 0)
    for number, name in enumerate((KOHYA, DIFFUSERS, LOCON), start=1):
        editor.link(editor.add("StyleDeltaLoadLora", 0, 150 * number, lora_name=name), 0, node, f"lora_{number}")
    return run(editor, node, panel_of(editor))


def shown_values(panel: Locator) -> list[float | None]:
    """The numbers in the legend, in its order."""
    texts = panel.locator(".sd-chart:not([hidden]) .sd-value").all_inner_texts()
    return [float(text) if text else None for text in texts]


def readout(panel: Locator) -> str:
    return panel.locator(".sd-chart:not([hidden]) .sd-readout").inner_text()


def plot(panel: Locator) -> Locator:
    return panel.locator(".sd-chart:not([hidden]) .sd-plot svg")


def values_at(chart: dict[str, Any], x: float) -> list[float]:
    return [series["y"][series["x"].index(x)] for series in chart["series"]]


def test_a_panel_waits_for_the_first_run(editor):
    node = add_report(editor)
    panel = panel_of(editor)
    assert panel.inner_text().strip() == QUIET
    assert editor.page.evaluate("(id) => app.graph.getNodeById(id).size[1]", node) < 160
    assert "styledelta_report" not in json.dumps(editor.prompt()) + json.dumps(editor.serialize())


def test_a_report_does_not_cover_other_nodes_unasked(editor):
    node = add_report(editor)
    editor.add("PreviewAny", 350, 220)
    panel = panel_of(editor)
    editor.run()
    opener = panel.locator(".sd-opener")
    opener.wait_for()
    height = "(id) => app.graph.getNodeById(id).size[1]"
    closed = editor.page.evaluate(height, node)
    assert closed < 190 and not panel.locator(".sd-chart").count()
    opener.focus()
    editor.page.keyboard.press("Enter")
    panel.locator(".sd-chart:not([hidden])").wait_for()
    # The open node may reach below the window.
    editor.show()
    panel.locator(".sd-closer").click()
    opener.wait_for()
    if editor.renderer == "classic":
        assert editor.page.evaluate(height, node) == closed


@pytest.mark.parametrize("height, is_open", [(330, False), (900, True)])
def test_a_report_stays_within_its_group_unasked(editor, height, is_open):
    add_report(editor)
    script = """(height) => {
        const group = new LiteGraph.LGraphGroup('Report')
        group.pos = [-30, -80]
        group.size = [1000, height]
        app.graph.add(group)
    }"""
    editor.page.evaluate(script, height)
    panel = panel_of(editor)
    editor.run()
    panel.locator(".sd-chart:not([hidden])" if is_open else ".sd-opener").wait_for()
    assert bool(panel.locator(".sd-chart").count()) == is_open


def test_a_report_does_not_widen_over_what_is_drawn(editor):
    """Nodes 2.0 draws a node higher than the graph's own size of it."""
    report = add_report(editor)
    neighbour = editor.add("StyleDeltaLoadLora", 620, -100)
    panel = panel_of(editor)
    editor.run()
    panel.locator(":is(.sd-opener, .sd-text)").wait_for()
    editor.show()
    boxes = {box["id"]: box for box in editor.boxes()}
    assert boxes[report]["right"] <= boxes[neighbour]["left"] or boxes[neighbour]["bottom"] <= boxes[report]["top"]


def test_the_mouse_reads_the_numbers_of_spectra(editor, report):
    spectra = report.charts[0]
    assert spectra["kind"] == "lines" and len(spectra["series"]) == 5
    box = plot(report.panel).bounding_box()
    # Every x of the first line, from one end to the other, is reached by moving across.
    seen = {}
    for step in range(60):
        editor.page.mouse.move(box["x"] + box["width"] * (step + 0.5) / 60, box["y"] + box["height"] / 3)
        seen[readout(report.panel)] = shown_values(report.panel)
    xs = spectra["series"][0]["x"]
    assert list(seen) == [f"{spectra['x_label']} {x}" for x in xs]
    assert list(seen.values()) == [values_at(spectra, x) for x in xs]
    editor.screenshot("report_panel_spectra")
    editor.page.mouse.move(5, 5)
    assert set(shown_values(report.panel)) == {None}


def test_the_mouse_reads_the_numbers_of_bars(editor, report):
    report.panel.locator("[role=tab]").nth(1).click()
    bars = report.charts[1]
    assert bars["kind"] == "bars" and bars["names"]
    for index, (name, value) in enumerate(zip(bars["names"], bars["values"])):
        report.panel.locator("rect.bar").nth(index).hover()
        assert readout(report.panel) == f"{name}: {value} {bars['unit']}"
    editor.screenshot("report_panel_bars")


def test_the_mouse_reads_the_numbers_of_heat_maps(editor, comparison):
    tabs = comparison.panel.locator("[role=tab]")
    maps = [chart for chart in comparison.charts if chart["kind"] == "heatmap"]
    assert tabs.all_inner_texts() == ["Outputs shared", "Inputs shared", "Cosine"] == [chart["tab"] for chart in maps]
    for index, chart in enumerate(maps):
        tabs.nth(index).click()
        cells = comparison.panel.locator(".sd-chart:not([hidden]) :is(.cell, .absent)")
        flat = [
            f"{row}, {column}: {'–' if value is None else value}"
            for row, line in zip(chart["rows"], chart["values"])
            for column, value in zip(chart["columns"], line)
        ]
        assert cells.count() == len(flat)
        for cell in (0, len(flat) // 2, len(flat) - 1):
            cells.nth(cell).hover()
            assert number_of(readout(comparison.panel)) == number_of(flat[cell])
        editor.screenshot(f"report_panel_heat_{index}")
    names = comparison.panel.locator(".sd-notes").inner_text().splitlines()
    assert names == [f"A: {KOHYA}", f"B: {DIFFUSERS}", f"C: {LOCON}"]


def number_of(text: str) -> tuple[str, float | None]:
    """A readout with its number as a number: Python and JavaScript write small ones differently."""
    name, _, number = text.rpartition(": ")
    return name, None if number == "–" else float(number)


def test_the_arrow_keys_move_the_cursor(editor, report):
    spectra = report.charts[0]
    chart = plot(report.panel)
    chart.focus()
    before = editor.page.evaluate("(id) => [...app.graph.getNodeById(id).pos]", report.node)
    for key, x in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowUp", 3), ("ArrowLeft", 2), ("End", 8), ("Home", 1)):
        chart.press(key)
        assert readout(report.panel) == f"{spectra['x_label']} {x}"
        assert shown_values(report.panel) == values_at(spectra, x)
        assert chart.get_attribute("aria-valuetext").startswith(f"{spectra['x_label']} {x}: ")
    chart.press("Escape")
    assert set(shown_values(report.panel)) == {None}
    assert editor.page.evaluate("(id) => [...app.graph.getNodeById(id).pos]", report.node) == before


def test_the_arrow_keys_move_in_both_directions_of_a_heat_map(comparison):
    chart = comparison.charts[0]
    element = plot(comparison.panel)
    element.focus()
    for key, row, column in (("Home", 0, 0), ("ArrowDown", 1, 0), ("ArrowRight", 1, 1), ("ArrowUp", 0, 1)):
        element.press(key)
        name, value = number_of(readout(comparison.panel))
        assert name == f"{chart['rows'][row]}, {chart['columns'][column]}" and value == chart["values"][row][column]


def test_the_keyboard_changes_tabs(report):
    report.panel.locator("[role=tab]").first.focus()
    report.panel.page.keyboard.press("ArrowRight")
    assert report.panel.locator("[role=tab][aria-selected=true]").inner_text() == report.charts[1]["tab"]
    assert report.panel.locator(".sd-chart:not([hidden]) .sd-title").inner_text() == report.charts[1]["title"]


def test_the_legend_hides_lines_but_not_the_last(report):
    lines, entries = report.panel.locator(".sd-plot .series"), report.panel.locator("button.sd-entry")
    assert lines.count() == entries.count() == 5
    entries.nth(1).click()
    assert lines.count() == 4 and entries.nth(1).get_attribute("aria-pressed") == "false"
    plot(report.panel).focus()
    report.panel.page.keyboard.press("Home")
    values = shown_values(report.panel)
    assert values[1] is None and values[0] == report.charts[0]["series"][0]["y"][0]
    entries.nth(1).press("Enter")
    assert lines.count() == 5
    for index in range(5):
        entries.nth(index).click()
    assert lines.count() == 1 and entries.nth(4).get_attribute("aria-pressed") == "true"


def test_spectra_can_be_seen_on_a_linear_axis(editor, report):
    log = report.panel.locator(".sd-log")
    assert log.get_attribute("aria-pressed") == "true"
    heights = [line.get_attribute("points") for line in report.panel.locator(".series").all()]
    log.click()
    assert log.get_attribute("aria-pressed") == "false"
    assert "0" in plot(report.panel).locator("text").all_text_contents()
    assert heights != [line.get_attribute("points") for line in report.panel.locator(".series").all()]


def test_the_report_opens_and_is_copied(editor, report):
    body = report.panel.locator("pre")
    assert body.is_hidden()
    report.panel.locator(".sd-toggle").click()
    assert body.text_content() == report.text and "energy by block:" in report.text
    assert plot(report.panel).is_visible()
    editor.show()
    editor.screenshot("report_panel_text")
    editor.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    report.panel.locator(".sd-copy").click()
    report.panel.get_by_text("Copied").wait_for()
    assert editor.page.evaluate("navigator.clipboard.readText()") == report.text


def test_what_is_done_in_the_panel_is_not_done_to_the_graph(editor, report):
    report.panel.locator(".sd-toggle").click()
    state = "(id) => [...app.graph.getNodeById(id).pos, app.canvas.ds.scale, ...app.canvas.ds.offset]"
    before = editor.page.evaluate(state, report.node)
    box = report.panel.locator("pre").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    editor.page.mouse.move(x, y)
    editor.page.mouse.down()
    editor.page.mouse.move(x - 60, y - 20, steps=4)
    editor.page.mouse.up()
    editor.page.mouse.wheel(0, 120)
    editor.until(lambda: report.panel.locator("pre").evaluate("(element) => element.scrollTop > 0"), True)
    assert editor.page.evaluate(state, report.node) == before


def test_charts_fill_a_node_that_is_made_larger(editor, report):
    # Bars have no legend, whose lines would take less room in a wider node.
    report.panel.locator("[role=tab]").nth(1).click()
    room = report.panel.locator(".sd-chart:not([hidden]) .sd-plot")
    before = room.evaluate("(element) => [element.clientWidth, element.clientHeight]")
    resize(editor, report.node, 150, 120)
    after = room.evaluate("(element) => [element.clientWidth, element.clientHeight]")
    assert after[0] - before[0] == pytest.approx(150, abs=6) and after[1] - before[1] == pytest.approx(120, abs=10)
    assert plot(report.panel).evaluate("(element) => element.clientWidth") == after[0]


def resize(editor, node: int, wider: int, higher: int) -> None:
    """Drag the lower right corner of a node."""
    scale = 0.8
    editor.show(scale=scale)
    box = next(box for box in editor.boxes() if box["id"] == node)
    x, y = box["right"], box["bottom"]
    editor.page.mouse.move(x - 3, y - 3)
    editor.page.mouse.down()
    editor.page.mouse.move(x - 3 + wider * scale, y - 3 + higher * scale, steps=6)
    editor.page.mouse.up()
    editor.settle()


def test_nodes_that_hand_on_a_lora_show_their_report_too(editor):
    extract = editor.add("StyleDeltaExtractLoraFiles", 0, 0, tuned=TUNED, base=BASE, rank=8)
    resize_node = editor.add("StyleDeltaResizeLora", 480, 0, rank=4)
    save = editor.add("StyleDeltaSaveLora", 960, 0)
    editor.link(extract, 0, resize_node, "lora_model")
    editor.link(resize_node, 0, save, "lora_model")
    outputs = editor.run()
    editor.element(".sd-text").nth(2).wait_for(state="attached")
    editor.show()
    editor.screenshot("report_panel_extract")
    titles = {}
    for node in (extract, resize_node, save):
        charts = [json.loads(chart) for chart in outputs[str(node)].get("styledelta_charts", [])]
        titles[node] = [chart["title"] for chart in charts]
    panels = [panel_of(editor, index) for index in range(3)]
    assert [panel.locator(".sd-title").all_text_contents() for panel in panels] == list(titles.values())
    assert titles[extract][0].startswith("Singular values") and titles[resize_node][1] == "Energy by block"
    assert "rank 8" in panels[0].locator(".sd-name").first.inner_text() and panels[0].locator(".cut").count() > 0
    # Save LoRA has nothing but text, which stands open.
    assert not titles[save] and panels[2].locator("pre").inner_text() == outputs[str(save)]["text"][0]


def test_both_themes(editor, comparison):
    def look() -> list[str]:
        script = "(panel) => [panel, panel.querySelector('.cell')].map((e) => getComputedStyle(e)).map((s) => s.fill + s.backgroundColor)"
        return comparison.panel.evaluate(script)

    dark = look()
    try:
        set_theme(editor, "light")
        light = look()
        editor.screenshot("report_panel_light")
        comparison.panel.locator("[role=tab]").nth(2).click()
        editor.screenshot("report_panel_light_cosine")
    finally:
        set_theme(editor, "dark")
    assert all(a != b for a, b in zip(dark, light)) and look() == dark


def set_theme(editor, name: str) -> None:
    editor.page.evaluate("(name) => app.extensionManager.setting.set('Comfy.ColorPalette', name)", name)
    expect(panel_of(editor)).to_have_css("color-scheme", name)
    editor.settle()


def test_a_saved_graph_opens_without_the_result_and_runs_again(editor, report):
    saved = editor.serialize()
    assert report.text not in json.dumps(saved)
    editor.clear()
    editor.load(saved)
    panel = panel_of(editor)
    assert panel.inner_text().strip() == QUIET
    editor.screenshot("report_panel_reloaded")
    again = run(editor, report.node, panel)
    assert again.charts == report.charts and panel.locator(".series").count() == 5


def test_results_come_back_with_the_workflows_tab(editor, report):
    script = """() => {
        const { openWorkflows, activeWorkflow } = app.extensionManager.workflow
        return openWorkflows.indexOf(activeWorkflow)
    }"""
    tab = editor.page.evaluate(script)
    editor.element(".workflow-tabs-container .new-blank-workflow-button").click()
    # Until the new workflow is the active one, the editor takes a click on the tab of the old one for nothing.
    editor.until(lambda: editor.page.evaluate(script) != tab, True)
    editor.settle()
    expect(editor.element(".styledelta-panel")).to_have_count(0)
    # Front ends before and after 1.50 mark their tabs apart.
    editor.element(".workflow-tabs .p-togglebutton, [data-testid=workflow-tab]").nth(tab).click()
    editor.until(lambda: editor.page.evaluate(script), tab)
    expect(panel_of(editor).locator(".series")).to_have_count(5)


def test_undo_keeps_the_result(editor, report):
    script = """(id) => {
        const tracker = app.extensionManager.workflow.activeWorkflow.changeTracker
        tracker.checkState()
        app.graph.getNodeById(id).pos[0] += 40
        tracker.checkState()
        return tracker.undo()
    }"""
    editor.page.evaluate(script, report.node)
    editor.settle()
    expect(panel_of(editor).locator(".series")).to_have_count(5)


def test_the_panel_speaks_chinese(chinese):
    node = add_report(chinese)
    assert panel_of(chinese).inner_text().strip() == "运行后在此显示报告。"
    ran = run(chinese, node, panel_of(chinese))
    assert ran.panel.locator(".sd-toggle").inner_text().strip() == "报告"
    assert ran.panel.locator("[role=tab]").all_inner_texts() == ["奇异值谱", "能量"]
    assert ran.panel.locator(".sd-title").first.inner_text().endswith("中最强各层的奇异值")
    assert "奇异值序号" in plot(ran.panel).text_content()
    chinese.screenshot("report_panel_zh")
    assert not chinese.errors
