"""The pose editor: points are dragged, limbs hidden, people added; what is edited is kept, and drawn by the run."""

import json
from io import BytesIO

import pytest
from editor import PromptError
from PIL import Image
from playwright.sync_api import expect

BODY, LEFT, RIGHT = "pose_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d"
MODULES = "/extensions/ComfyUI-StyleDelta/pose/"


class PoseNode:
    """A pose editor's widget on the page."""

    def __init__(self, editor, node: int):
        self.editor, self.node = editor, node
        self.root = editor.element(".sd-pose")
        self.canvas = self.root.locator("svg.sd-pose-canvas")

    def frame(self) -> dict:
        return json.loads(self.editor.value(self.node, "edited"))

    def joint(self, index: int, part: str = BODY, person: int = 0) -> list[float]:
        return self.frame()["people"][person][part][3 * index : 3 * index + 3]

    def dot(self, index: int, part: str = BODY, person: int = 0):
        return self.root.locator(f"g.sd-pose-person >> nth={person}").locator(
            f'circle[data-part="{part}"][data-index="{index}"]'
        )

    def spot(self, index: int, part: str = BODY, person: int = 0) -> tuple[float, float]:
        """Where a point is on the page."""
        box = self.dot(index, part, person).bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def unit(self) -> float:
        """Pixels of the page for one of the canvas, whose height fills the drawing."""
        box = self.root.locator("rect.sd-pose-paper").bounding_box()
        return box["height"] / self.frame()["canvas_height"]

    def drag(self, index: int, dx: float, dy: float, part: str = BODY, shift: bool = False) -> None:
        """Drag a point by pixels of the canvas."""
        x, y = self.spot(index, part)
        unit, mouse = self.unit(), self.editor.page.mouse
        mouse.move(x, y)
        if shift:
            self.editor.page.keyboard.down("Shift")
        mouse.down()
        mouse.move(x + dx * unit, y + dy * unit, steps=5)
        mouse.up()
        if shift:
            self.editor.page.keyboard.up("Shift")

    def click(self, index: int, part: str = BODY) -> None:
        self.editor.page.mouse.click(*self.spot(index, part))

    def press(self, name: str) -> None:
        self.root.get_by_role("button", name=name, exact=True).click()


@pytest.fixture
def pose(editor) -> PoseNode:
    node = PoseNode(editor, editor.add("StyleDeltaPoseEditor", 0, 0))
    editor.show(scale=1.0)
    return node


def drawn(editor, pose: PoseNode) -> int:
    """Complete the graph so that the pose is drawn; return the node that shows it."""
    draw = editor.add("StyleDeltaDrawPose", 500, 0)
    shown = editor.add("PreviewImage", 900, 0)
    editor.link(pose.node, 0, draw, "pose")
    editor.link(draw, 0, shown, "images")
    return shown


def picture(editor, outputs: dict, node: int) -> Image.Image:
    return Image.open(BytesIO(editor.server.view(**outputs[str(node)]["images"][0]))).convert("RGB")


def with_hands(frame: dict) -> dict:
    """The person with a hand at each wrist."""
    person = frame["people"][0]
    for part, wrist in ((RIGHT, 4), (LEFT, 7)):
        x, y = person[BODY][3 * wrist : 3 * wrist + 2]
        person[part] = [n for i in range(21) for n in (x + 8 * (i % 5) - 16, y + 12 * (i // 5) + 20, 1)]
    return frame


def test_what_hangs_on_what(editor):
    script = """async (modules) => {
        const { limbOf, carriedBy } = await import(modules + 'pose_skeleton.js')
        const { framesOf } = await import(modules + 'pose_value.js')
        const BODY = 'pose_keypoints_2d', LEFT = 'hand_left_keypoints_2d'
        const counts = { [BODY]: 18, [LEFT]: 21, face_keypoints_2d: 70, foot_keypoints_2d: 6 }
        const limb = (key, index) => limbOf(key, index, (each) => counts[each] ?? 0)
        const frame = (people, more) => JSON.stringify({ people, canvas_width: 512, canvas_height: 512, ...more })
        const read = [
            frame([]), `[${frame([])}, ${frame([])}]`, frame([{ [BODY]: Array(54).fill(9) }]), frame([{ [BODY]: null, [LEFT]: [] }]),
            frame([{ [BODY]: Array(75).fill(9) }]), frame([{ [BODY]: Array(54).fill(0.5) }]), frame([], { canvas_width: '512' }),
            frame([{ [LEFT]: Array(60).fill(9) }]), '[]', '', 'a', '{"people": []}', frame([5])
        ].map((text) => framesOf(text)?.length ?? 0)
        return {
            arm: limb(BODY, 6).length, leg: limb(BODY, 11).map(([key, index]) => `${key[0]}${index}`), finger: limb(LEFT, 6),
            head: limb(BODY, 0).length, all: limb(BODY, 1).length, wrist: carriedBy(BODY, 7, (each) => counts[each] ?? 0).length,
            read
        }
    }"""
    found = editor.page.evaluate(script, MODULES)
    assert (found["arm"], found["head"], found["wrist"]) == (2 + 21, 5 + 70, 1 + 21)
    assert found["leg"] == ["p11", "p12", "p13", "f0", "f1", "f2"]
    assert [index for _, index in found["finger"]] == [6, 7, 8]
    # Everything but the right hand, which is not there.
    assert found["all"] == 18 + 70 + 21 + 6
    assert found["read"] == [1, 2, 1, 1, *[0] * 9]


def test_points_are_dragged(editor, pose):
    script = "JSON.stringify([...app.canvas.ds.offset, app.canvas.ds.scale, ...app.graph.nodes[0].pos])"
    view = editor.page.evaluate(script)
    editor.screenshot("pose_editor")
    pose.drag(4, -60, -200)
    assert pose.joint(4) == pytest.approx([168 - 60, 392 - 200, 1], abs=1.5)
    assert pose.joint(3) == [176, 302, 1]
    # With Shift the arm goes along, from the elbow on.
    pose.drag(6, 40, -30, shift=True)
    assert pose.joint(6) == pytest.approx([378, 270, 1], abs=1.5) and pose.joint(7) == pytest.approx(
        [386, 362, 1], abs=1.5
    )
    assert pose.joint(5) == [316, 204, 1]
    expect(pose.root.locator(".sd-chosen-point")).to_have_count(1)
    # A wrist takes its hand along.
    editor.set(pose.node, edited=json.dumps(with_hands(pose.frame())))
    before, wrist = pose.joint(9, RIGHT), pose.joint(4)
    pose.drag(4, -20, -30)
    moved = pose.joint(9, RIGHT)
    assert moved == pytest.approx([before[0] - 20, before[1] - 30, 1], abs=1.5)
    # The wheel makes the hand larger, and a finger is dragged by its knuckle.
    editor.page.mouse.move(*pose.spot(9, RIGHT))
    editor.page.mouse.wheel(0, -900)
    editor.until(lambda: pose.unit() > 1.5, True)
    pose.drag(9, 5, 5, RIGHT, shift=True)
    assert pose.joint(9, RIGHT) == pytest.approx([moved[0] + 5, moved[1] + 5, 1], abs=1)
    assert pose.joint(4) == pytest.approx([wrist[0] - 20, wrist[1] - 30, 1], abs=1.5)
    editor.screenshot("pose_editor_hand")
    pose.press("Whole picture")
    assert pose.unit() < 1.5
    assert editor.page.evaluate(script) == view


def test_limbs_are_hidden_and_the_run_draws_the_rest(editor, pose):
    shown = drawn(editor, pose)
    before = picture(editor, editor.run(), shown)
    assert before.getpixel((176, 302)) == (255, 255, 0) and before.getpixel((168, 392)) == (170, 255, 0)
    pose.click(3)
    expect(pose.root.get_by_role("combobox", name="Point")).to_have_value(
        '{"person":0,"key":"pose_keypoints_2d","index":3}'
    )
    pose.press("Hide limb")
    assert pose.joint(3) == [176, 302, 0] and pose.joint(4) == [168, 392, 0] and pose.joint(2)[2] == 1
    after = picture(editor, editor.run(), shown)
    assert after.getpixel((176, 302)) == after.getpixel((168, 392)) == (0, 0, 0)
    assert after.getpixel((196, 204)) == (255, 170, 0)
    # A hidden limb is shown where it was.
    expect(pose.root.locator("circle.sd-hidden-point")).to_have_count(2)
    pose.press("Show limb")
    assert pose.joint(4) == [168, 392, 1]
    pose.press("Hide point")
    assert pose.joint(3)[2] == 0 and pose.joint(4)[2] == 1


def test_everything_is_done_by_keyboard(editor, pose):
    pose.root.get_by_role("combobox", name="Point").select_option(label="left wrist")
    pose.canvas.focus()
    editor.page.keyboard.press("ArrowRight")
    editor.page.keyboard.press("Shift+ArrowUp")
    assert pose.joint(7) == [347, 382, 1]
    editor.page.keyboard.press("Delete")
    assert pose.joint(7) == [347, 382, 0]
    assert editor.page.evaluate("app.graph.nodes.length") == 1
    pose.press("Add person")
    assert len(pose.frame()["people"]) == 2 and pose.joint(0, person=1) == [256, 130, 1]
    pose.press("Remove person")
    assert len(pose.frame()["people"]) == 1
    field = pose.root.get_by_label("Width")
    field.fill("768")
    field.press("Enter")
    assert pose.frame()["canvas_width"] == 768
    # The frames of a video, each by itself.
    frame = pose.frame()
    editor.set(pose.node, edited=json.dumps([frame, frame]))
    field = pose.root.get_by_label("Frame")
    field.fill("2")
    field.press("Enter")
    pose_before = pose.frame()[0]
    pose.click(0)
    editor.page.keyboard.press("ArrowDown")
    first, second = pose.frame()
    assert first == pose_before and second["people"][0][BODY][1] == 131


def undo(editor, pose: PoseNode, expected: dict) -> None:
    editor.page.evaluate("document.activeElement?.blur()")
    editor.page.keyboard.press("Control+z")
    editor.until(lambda: editor.page.evaluate("app.graph.nodes.length") and pose.frame(), expected)
    # The rest of the graph may still be loading.
    editor.settle()


def test_undo_takes_back_one_change_after_the_other(editor, pose):
    editor.page.evaluate("app.canvas.emitBeforeChange(); app.canvas.emitAfterChange()")
    first = pose.frame()
    pose.drag(0, 30, -20)
    dragged = pose.frame()
    pose.press("Hide point")
    assert first != dragged != pose.frame()
    undo(editor, pose, dragged)
    undo(editor, pose, first)
    # What is shown after it is alive.
    pose.drag(4, 30, -20)
    assert pose.joint(4) == pytest.approx([198, 372, 1], abs=1.5)
    # A workflow keeps the edit.
    edited, saved = pose.frame(), editor.serialize()
    editor.load(saved)
    assert pose.frame() == edited
    assert json.loads(editor.prompt()[str(pose.node)]["inputs"]["edited"]) == edited


def test_a_connected_pose_is_shown_and_edited(editor, pose):
    text = json.dumps(with_hands(pose.frame()))
    source = editor.add("StyleDeltaPoseFromJson", -450, 0, text=text)
    editor.link(source, 0, pose.node, "pose")
    shown = drawn(editor, pose)
    editor.set(pose.node, edited="")
    expect(pose.root.locator(".sd-pose-status")).to_contain_text("the connected pose is passed on")
    editor.run()
    editor.show(pose.node, scale=1.0)
    expect(pose.root.locator(f'circle[data-part="{RIGHT}"]')).to_have_count(21)
    assert editor.value(pose.node, "edited") == ""
    pose.click(0)
    editor.page.keyboard.press("ArrowRight")
    assert pose.joint(0) == [257, 130, 1] and len(pose.frame()["people"][0][RIGHT]) == 63
    # What was connected since is taken when asked for.
    changed = with_hands(json.loads(text))
    changed["people"][0][BODY][0] = 200
    editor.set(source, text=json.dumps(changed))
    outputs = editor.run()
    assert picture(editor, outputs, shown).getpixel((257, 130)) == (255, 0, 0)
    pose.press("Take what was read")
    assert pose.joint(0) == [200, 130, 1]


def test_json_is_pasted_and_other_forms_wait_for_the_run(editor, pose):
    drawn(editor, pose)
    pose.press("JSON")
    field = pose.root.get_by_role("textbox", name="JSON")
    joints = [[100 + 10 * index, 100] for index in range(18)]
    field.fill(json.dumps({"width": 512, "height": 512, "keypoints": joints}))
    field.blur()
    expect(pose.root.locator(".sd-pose-status")).to_contain_text("another form")
    editor.run()
    pose.press("Take what was read")
    assert pose.joint(5) == [150, 100, 1] and pose.frame()["canvas_height"] == 512
    field.fill("no pose")
    field.blur()
    with pytest.raises(PromptError, match="this is not valid JSON"):
        editor.run()
    dialog = editor.element(".p-dialog")
    if dialog.count():
        editor.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
