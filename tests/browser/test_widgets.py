"""Each kind of standard widget, changed by mouse and keyboard in the real editor, arrives in the prompt."""

import re
from itertools import islice

import pytest
from editor import Editor

# Where a widget of a node is on the screen, on the classic canvas.
CLASSIC_PLACE = """([id, name]) => {
    const node = app.graph.getNodeById(id), widget = node.widgets.find((w) => w.name === name)
    const height = widget.computedHeight ?? LiteGraph.NODE_WIDGET_HEIGHT
    const { scale, offset } = app.canvas.ds, box = app.canvas.canvas.getBoundingClientRect()
    const x = node.pos[0] + node.size[0] / 2, y = node.pos[1] + (widget.last_y ?? widget.y) + Math.min(height, 20) / 2
    return [box.left + (x + offset[0]) * scale, box.top + (y + offset[1]) * scale]
}"""
# In Nodes 2.0 the controls of a node stand in the order of its widgets.
VUE_CONTROLS = (
    "[role=spinbutton], [role=combobox], [role=switch], input:is([type=text], :not([type])):not([role]), textarea"
)


def control(editor: Editor, node: int, name: str):
    """The HTML control of a widget in Nodes 2.0."""
    script = "([id, name]) => app.graph.getNodeById(id).widgets.findIndex((w) => w.name === name)"
    index = editor.page.evaluate(script, [node, name])
    return editor.element(f"[data-node-id='{node}']").locator(VUE_CONTROLS).nth(index)


def click_widget(editor: Editor, node: int, name: str, clicks: int = 1) -> None:
    x, y = editor.page.evaluate(CLASSIC_PLACE, [node, name])
    for _ in range(clicks):
        editor.page.mouse.click(x, y)


def type_into(editor: Editor, node: int, name: str, text: str) -> None:
    """Open a number or a text with the mouse, and type another."""
    if editor.renderer == "vue":
        control(editor, node, name).focus()
        editor.page.keyboard.press("Control+A")
        editor.page.keyboard.type(text)
        editor.page.keyboard.press("Tab")
    else:
        # The canvas asks for a number or a line of text in a small dialog.
        click_widget(editor, node, name, 2)
        editor.element(".graphdialog input").fill(text)
        editor.page.keyboard.press("Enter")


def step_up(editor: Editor, node: int, name: str, text: str) -> None:
    """Raise a number by its step with the arrow key; the classic canvas takes the number itself."""
    if editor.renderer == "classic":
        return type_into(editor, node, name, text)
    # Typed fractions are left out: front end 1.32.9 loses the point of what is typed quickly.
    control(editor, node, name).focus()
    editor.page.keyboard.press("ArrowUp")
    editor.page.keyboard.press("Tab")


def choose(editor: Editor, node: int, name: str, choice: str) -> None:
    """Open a combo and click one of its choices."""
    if editor.renderer == "vue":
        control(editor, node, name).click()
        editor.page.get_by_role("option", name=choice, exact=True).click()
    else:
        click_widget(editor, node, name)
        editor.element(".litecontextmenu .litemenu-entry").get_by_text(choice, exact=True).click()


def toggle(editor: Editor, node: int, name: str) -> None:
    if editor.renderer == "vue":
        control(editor, node, name).click(force=True)
    else:
        click_widget(editor, node, name)


def write_lines(editor: Editor, node: int, name: str, text: str) -> None:
    """Type into a text of several lines, which is HTML in both renderers."""
    area = control(editor, node, name) if editor.renderer == "vue" else editor.element("textarea.comfy-multiline-input")
    area.click()
    editor.page.keyboard.type(text)


CASES = {
    "int": ("StyleDeltaStyleSheet", "columns", type_into, "5", 5),
    "float": ("StyleDeltaAddLora", "strength_model", step_up, "1.01", 1.01),
    "combo": ("StyleDeltaAddLora", "preset", choose, "attention only", "attention only"),
    "boolean": ("StyleDeltaDrawPose", "body", lambda editor, node, name, _: toggle(editor, node, name), "", False),
    "string": ("StyleDeltaSaveStyle", "filename_prefix", type_into, "mine/ink", "mine/ink"),
    "text": ("StyleDeltaAddLora", "block_weights", write_lines, "*=0, middle=0.5", "*=0, middle=0.5"),
}


@pytest.mark.parametrize("kind", CASES)
def test_a_widget_is_edited_by_mouse_and_keyboard(editor, kind):
    node_type, name, edit, given, expected = CASES[kind]
    node = editor.add(node_type)
    editor.show(node, scale=1.2)
    assert editor.value(node, name) != expected
    edit(editor, node, name, given)
    editor.until(lambda: editor.prompt()[str(node)]["inputs"][name], expected)
    editor.screenshot(f"widget_{kind}")


def open_help(editor: Editor, node: int) -> str:
    """Select a node, press the button of its toolbox that opens the help, and return what the page says."""
    editor.page.evaluate("app.extensionManager.setting.set('Comfy.Canvas.SelectionToolbox', true)")
    # The toolbox is above the node: room for it below the menus.
    editor.page.evaluate("app.canvas.ds.offset[1] += 150")
    editor.page.evaluate("(id) => app.canvas.selectNode(app.graph.getNodeById(id))", node)
    editor.element("[data-testid=info-button]").click()
    page = editor.element(".node-help-content")
    page.locator("h1").first.wait_for()
    text = page.inner_text()
    editor.page.evaluate("app.extensionManager.setting.set('Comfy.Canvas.SelectionToolbox', false)")
    return text


def test_the_help_page_opens_in_english(editor):
    node = editor.add("StyleDeltaAddLora", 300, 200)
    editor.show(node, scale=1.0)
    text = open_help(editor, node)
    editor.screenshot("help_en")
    assert re.search("Add LoRA", text) and "block weights" in text
    # The front end asks for a page of the language first, and then for the plain one, which is English.
    editor.errors[:] = [error for error in editor.errors if not error.endswith("/StyleDeltaAddLora/en.md")]


def test_a_chinese_editor_shows_the_chinese_help_page(chinese):
    node = chinese.add("StyleDeltaAddLora", 300, 200)
    chinese.show(node, scale=1.0)
    text = open_help(chinese, node)
    chinese.screenshot("help_zh")
    title = chinese.server.get("/i18n")["zh"]["nodeDefs"]["StyleDeltaAddLora"]["display_name"]
    assert title in text
    shown = chinese.page.evaluate("(id) => app.graph.getNodeById(id).title", node)
    # Before its pull request 7214 the front end lost the packs' translations of languages that it loads late.
    assert shown == title if front_end(chinese) >= (1, 36) else shown in (title, "Add LoRA")


def front_end(editor: Editor) -> tuple[int, ...]:
    """The version of the front end: major and minor."""
    return tuple(map(int, editor.page.evaluate("window.__COMFYUI_FRONTEND_VERSION__").split(".")[:2]))


def assert_found(editor: Editor, text: str, name: str) -> None:
    """The editor's search for nodes offers that node among the first for a text."""
    editor.page.evaluate("app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
    field = editor.element("input[role=combobox]").last
    field.fill(text)

    def is_offered() -> bool:
        offered = filter(None, editor.page.get_by_role("option").all_inner_texts())
        return any(option.startswith(name) for option in islice(offered, 3))

    editor.until(is_offered, True)
    editor.screenshot(f"search_{text.split()[0].lower()}")
    # A dialog that is closed with a text in it is an error in front end 1.32.9, which closes the list first, and then the dialog.
    field.fill("")
    for _ in range(2):
        editor.page.keyboard.press("Escape")
        editor.settle()


def test_the_search_finds_nodes_by_name_and_by_alias(editor):
    info = editor.server.object_info()["StyleDeltaLoraStack"]
    words = [info["display_name"], *info.get("search_aliases", [])]
    if len(words) == 1:
        print("This host has no search aliases: they come with ComfyUI 0.10.0.")
    for text in words[:2]:
        assert_found(editor, text, info["display_name"])
