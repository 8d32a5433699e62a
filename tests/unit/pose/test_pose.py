"""Poses: every dialect of POSE_KEYPOINT is read, drawn in OpenPose's colours, and survives JSON."""

import copy
import json

import numpy as np
import pytest
import torch

from delta.pose.drawing import LONGEST_SIDE, DrawOptions, draw_pose, draw_poses, picture_size
from delta.pose.json_text import STANDING_PERSON, parse_pose_json
from delta.pose.poses import Frame, Person, PoseError, read_poses, to_keypoints
from delta.pose.skeletons import BODY_COLOURS, BONE_COLOURS, BONES, LIMBS
from delta.pose.writing import pose_json

HEIGHT, WIDTH = 768, 512
BODY, FACE, LEFT, RIGHT = (
    "pose_keypoints_2d",
    "face_keypoints_2d",
    "hand_left_keypoints_2d",
    "hand_right_keypoints_2d",
)
COUNTS = {BODY: 18, FACE: 70, LEFT: 21, RIGHT: 21}
PERSON = json.loads(STANDING_PERSON)["people"][0]


def scattered(count: int, seed: int = 1) -> np.ndarray:
    """[count, 3] points well inside the canvas, in whole pixels."""
    points = np.random.default_rng(seed).integers((40, 40, 1), (WIDTH - 40, HEIGHT - 40, 2), (count, 3))
    return points.astype(np.float64)


def flat(points: np.ndarray) -> list[float]:
    return points.reshape(-1).tolist()


def whole_person() -> dict:
    return {part: flat(scattered(count, seed)) for seed, (part, count) in enumerate(COUNTS.items())}


def frame(*people: dict, **changes) -> dict:
    return {"people": list(people), "canvas_height": HEIGHT, "canvas_width": WIDTH} | changes


def only_person(data) -> Person:
    (read,) = read_poses(data)
    (person,) = read.people
    return person


def drawn(data, **options) -> torch.Tensor:
    (read,) = read_poses(data)
    return draw_pose(read, *picture_size([read]), DrawOptions(**options))


def colour(picture: torch.Tensor, x: float, y: float) -> tuple[int, ...]:
    return tuple((picture[round(y), round(x)] * 255).round().int().tolist())


def test_a_whole_person_in_pixels():
    data = whole_person()
    person = only_person([frame(data)])
    for points, part in (
        (person.body, BODY),
        (person.face, FACE),
        (person.left_hand, LEFT),
        (person.right_hand, RIGHT),
    ):
        pixels = points * (WIDTH, HEIGHT, 1)
        np.testing.assert_allclose(pixels, np.reshape(data[part], (-1, 3)), atol=1e-9)
    assert person.feet is None


def test_normalised_coordinates_are_the_same_pose():
    person = whole_person()
    scale = np.array([WIDTH, HEIGHT, 1])
    normalised = {part: flat(np.reshape(numbers, (-1, 3)) / scale) for part, numbers in person.items()}
    assert torch.equal(drawn(frame(normalised)), drawn(frame(person)))
    assert to_keypoints(read_poses(frame(normalised))) == to_keypoints(read_poses(frame(person)))


def test_pixels_or_not_is_decided_for_each_frame_by_most_points():
    beyond = {BODY: [1.9, 0.5, 1, -1.5, 0.2, 1, 2.5, 0.4, 1, *[0.5, 0.5, 1] * 15]}
    first, second = read_poses([frame(PERSON), frame(beyond)])
    assert first.people[0].body[0, 0] == 0.5 and second.people[0].body[0, 0] == 1.9
    few = {BODY: [1, 1, 1, 300, 400, 1, 310, 400, 1, *[0.0] * 45]}
    assert only_person(frame(few)).body[1, 0] == 300 / WIDTH


@pytest.mark.parametrize("missing", [None, [], [0.0] * 63, [[0, 0, 0]] * 21, [300, 300, 0] * 21, [-1, -1, -0.2] * 21])
def test_missing_parts_and_points(missing):
    person = only_person([frame(PERSON | {LEFT: missing, FACE: None})])
    assert person.left_hand is None and person.right_hand is None and person.face is None
    assert person.body.shape == (18, 3)


@pytest.mark.parametrize("body", [None, [], [0.0] * 54])
def test_people_without_a_body(body):
    hand = flat(scattered(21))
    assert only_person([frame({BODY: body, RIGHT: hand})]).body is None
    assert drawn(frame({BODY: body, RIGHT: hand})).max() > 0
    assert only_person([frame({})]) == Person() and drawn(frame({})).max() == 0


def test_other_ways_to_write_the_same():
    expected = drawn(frame(PERSON))
    points = np.reshape(PERSON[BODY], (-1, 3))
    for data in (
        frame(PERSON),
        (frame(PERSON),),
        [frame(PERSON, version="ap10k", animals=[])],
        frame(PERSON, canvas_width="512", canvas_height=" 768"),
        frame(PERSON, canvas_width=512.0, canvas_height=np.int64(768)),
        frame(PERSON | {"person_id": [-1], "pose_keypoints_3d": [], "hand_left_keypoints_2d": None}),
        frame({BODY: points}),
        frame({BODY: points.tolist()}),
        frame({BODY: tuple(PERSON[BODY])}),
    ):
        assert torch.equal(drawn(data), expected)


def test_frames_without_people():
    frames = read_poses([frame(PERSON), frame(), frame(animals=[]), frame(people=None)])
    assert [len(read.people) for read in frames] == [1, 0, 0, 0]
    assert draw_poses(frames, 64, 64).amax((1, 2, 3)).gt(0).tolist() == [True, False, False, False]


def test_body_25_in_the_coco_order_with_its_feet():
    body_25 = scattered(25)
    person = only_person([frame({BODY: flat(body_25)})])
    pixels = person.body * (WIDTH, HEIGHT, 1)
    # Right hip, left hip, right eye: one place earlier, for the middle of the hips is gone.
    for ours, theirs in ((0, 0), (7, 7), (8, 9), (11, 12), (14, 15), (17, 18)):
        np.testing.assert_allclose(pixels[ours], body_25[theirs])
    np.testing.assert_allclose(person.feet * (WIDTH, HEIGHT, 1), body_25[19:])
    (keypoints,) = to_keypoints(read_poses(frame({BODY: flat(body_25)})))
    assert keypoints["people"][0]["foot_keypoints_2d"] == flat(body_25[19:])
    own = only_person([frame({BODY: flat(body_25), "foot_keypoints_2d": [90, 80, 1] * 6})])
    assert (own.feet[:, 0] == 90 / WIDTH).all()


def test_faces_of_68_points():
    face = scattered(68)
    data = frame({FACE: flat(face)})
    assert only_person(data).face.shape == (68, 3)
    (keypoints,) = to_keypoints(read_poses(data))
    assert keypoints["people"][0][FACE] == flat(face) + [0.0] * 6
    assert torch.equal(drawn(keypoints), drawn(data))


def test_keypoints_are_complete_and_in_pixels():
    (keypoints,) = to_keypoints(read_poses([frame(PERSON)]))
    assert (keypoints["canvas_height"], keypoints["canvas_width"]) == (HEIGHT, WIDTH)
    (person,) = keypoints["people"]
    assert {part: len(numbers) for part, numbers in person.items()} == {p: 3 * count for p, count in COUNTS.items()}
    assert person[BODY] == PERSON[BODY] and not any(person[FACE])
    assert json.loads(json.dumps(keypoints)) == keypoints


def test_reading_leaves_the_data_alone():
    data = [frame(whole_person(), {BODY: scattered(18)})]
    before = copy.deepcopy(data)
    drawn(data)
    assert str(data) == str(before)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "The pose holds no frames"),
        (None, "The pose holds no frames"),
        ("text", "The pose holds no frames"),
        ([frame(), 5], "frame 2: there is no list of people"),
        ({BODY: [0.5] * 54}, "There is no list of people"),
        (frame(people={}), "people: it must be a list"),
        (frame(PERSON, [1, 2]), "person 2: a person must be a set of parts"),
        (
            [frame(PERSON, {FACE: [1] * 50})],
            "frame 1, person 2, face_keypoints_2d: 50 numbers; expected 68 or 70 points",
        ),
        (
            frame({BODY: [1] * 57}),
            "person 1, pose_keypoints_2d: 57 numbers; expected 17, 18, 20, 25, .* 136 points of x",
        ),
        (frame({RIGHT: [1] * 61}), "hand_right_keypoints_2d: 61 numbers; expected 21 points"),
        (frame({"foot_keypoints_2d": [1] * 10}), "foot_keypoints_2d: 10 numbers; expected 6 points"),
        (frame({LEFT: [1] * 62 + [float("nan")]}), "hand_left_keypoints_2d: point 21 holds NaN"),
        (frame({LEFT: [1, float("inf"), 1] * 21}), "hand_left_keypoints_2d: point 1 holds NaN, null or infinite"),
        (frame({LEFT: [1, 1, None] * 21}), "hand_left_keypoints_2d: point 1 holds NaN, null or infinite"),
        (frame({BODY: ["a"] * 54}), "something other than numbers"),
        (frame({BODY: [[1, 2, 3], [1, 2]]}), "something other than numbers"),
        (frame({BODY: [10**400] * 54}), "something other than numbers"),
        (frame(animals=[[1, 2, 3]]), "animal 1: 1 points; an animal has the 17 of AP-10K"),
        ({"people": [PERSON]}, "pixels of a picture of unknown size. Add canvas_width"),
        ({"people": [PERSON], "canvas_width": 512}, "There is no canvas_height"),
        (frame(PERSON, canvas_width=0), "canvas_width: 0 is not a valid size"),
        (frame(PERSON, canvas_width="5e2"), "canvas_width: '5e2' is not a valid size"),
        (frame(PERSON, canvas_height=512.5), "canvas_height: 512.5 is not a valid size"),
        (frame(PERSON, canvas_height=True), "canvas_height: True is not a valid size"),
        (frame(PERSON, canvas_height=10**9), "is not a valid size. Give a whole number of pixels from 1 to 16384"),
    ],
)
def test_what_is_refused(data, message):
    with pytest.raises(PoseError, match=message):
        read_poses(data)


def test_every_joint_and_limb_has_its_colour():
    for index, expected in enumerate(BODY_COLOURS):
        body = np.zeros((18, 3))
        body[index] = 100, 200, 1
        assert colour(drawn(frame({BODY: flat(body)})), 100, 200) == expected
    for (start, end), full in zip(LIMBS, BODY_COLOURS):
        body = np.zeros((18, 3))
        body[start], body[end] = (100, 200, 1), (180, 320, 1)
        picture = drawn(frame({BODY: flat(body)}))
        # OpenPose draws limbs at 60 %.
        for share in (0.2, 0.5, 0.8):
            assert colour(picture, 100 + 80 * share, 200 + 120 * share) == tuple(int(0.6 * part) for part in full)
        assert colour(picture, 100, 200) == BODY_COLOURS[start] and colour(picture, 180, 320) == BODY_COLOURS[end]


def test_the_seventeen_limbs_are_those_of_openpose():
    # As the COCO model lists them, counted from 1.
    one_based = "2-3 2-6 3-4 4-5 6-7 7-8 2-9 9-10 10-11 2-12 12-13 13-14 2-1 1-15 15-17 1-16 16-18"
    assert [f"{a + 1}-{b + 1}" for a, b in LIMBS] == one_based.split()


@pytest.mark.parametrize(("height", "width", "half"), [(512, 512, 4), (1024, 1024, 8), (512, 1024, 4), (256, 256, 2)])
def test_limbs_are_ellipses_that_grow_with_the_shorter_side(height, width, half):
    body = np.zeros((18, 3))
    body[1], body[2] = (0.25, 0.5, 1), (0.75, 0.5, 1)
    (read,) = read_poses(frame({BODY: flat(body)}, canvas_height=height, canvas_width=width))
    lit = draw_pose(read, height, width)[..., 0] > 0.3
    # The pixels on the outline count, as they do in OpenPose.
    assert lit[:, width // 2].sum() == pytest.approx(2 * half + 0.5, abs=1)
    # At a quarter of the way an ellipse has 87 % of its width; a bar would have all of it.
    assert lit[:, width * 3 // 8].sum() == pytest.approx(1.73 * half + 0.5, abs=1)
    assert lit[:, width // 4].sum() == pytest.approx(2 * half, abs=1)
    thick = draw_pose(read, height, width, DrawOptions(stick_width=6))[..., 0] > 0.3
    assert thick[:, width // 2].sum() == pytest.approx(3 * half, abs=1)


def test_hands_are_coloured_bones_with_blue_points():
    points = np.zeros((21, 3))
    points[0] = 256, 600, 1
    for bone in range(1, 21):
        finger, knuckle = divmod(bone - 1, 4)
        points[bone] = 56 + 100 * finger, 500 - 110 * knuckle, 1
    for part in (LEFT, RIGHT):
        picture = drawn(frame({part: flat(points)}))
        for (start, end), expected in zip(BONES, BONE_COLOURS):
            middle = (points[start] + points[end]) / 2
            assert colour(picture, *middle[:2]) == expected
        assert {colour(picture, x, y) for x, y, _ in points} == {(0, 0, 255)}
    assert BONES[:6] == [(0, 1), (1, 2), (2, 3), (3, 4), (0, 5), (5, 6)] and BONES[-1] == (19, 20)
    assert BONE_COLOURS[0] == (255, 0, 0) and BONE_COLOURS[10] == (0, 255, 255)


def test_faces_are_white_points():
    points = np.array([[40 + 20 * (i % 10), 100 + 20 * (i // 10), 1] for i in range(70)], dtype=float)
    picture = drawn(frame({FACE: flat(points)}))
    assert {colour(picture, x, y) for x, y, _ in points} == {(255, 255, 255)}
    assert torch.equal(picture[..., 0], picture[..., 2]) and colour(picture, 50, 110) == (0, 0, 0)


def test_parts_are_switched_off():
    whole = frame(whole_person())
    for option, parts in (("body", [BODY]), ("hands", [LEFT, RIGHT]), ("face", [FACE])):
        without = frame({part: numbers for part, numbers in whole_person().items() if part not in parts})
        assert torch.equal(drawn(whole, **{option: False}), drawn(without))
    assert drawn(whole, body=False, hands=False, face=False).max() == 0


def test_a_missing_joint_takes_its_limbs_with_it():
    body = np.reshape(PERSON[BODY], (-1, 3)).astype(float)
    body[3] = 0
    picture = drawn(frame({BODY: flat(body)}))
    assert colour(picture, 176, 302) == (0, 0, 0) and colour(picture, 186, 253) == (0, 0, 0)
    assert colour(picture, 168, 392) == BODY_COLOURS[4]
    assert not picture[:4, :4].any()


def test_unsure_points_are_left_out():
    body = np.reshape(PERSON[BODY], (-1, 3)).astype(float)
    body[3, 2] = 0.25
    assert colour(drawn(frame({BODY: flat(body)})), 176, 302) == (0, 0, 0)
    assert colour(drawn(frame({BODY: flat(body)}), min_confidence=0.25), 176, 302) == BODY_COLOURS[3]
    body[5, 2] = 0
    assert colour(drawn(frame({BODY: flat(body)}), min_confidence=0.0), 316, 204) == (0, 0, 0)


def test_outside_the_canvas_is_cut_off():
    body = np.reshape(PERSON[BODY], (-1, 3)).astype(float)
    body[4, :2] = -80, 302
    picture = drawn(frame({BODY: flat(body)}))
    assert picture.shape == (HEIGHT, WIDTH, 3) and colour(picture, 0, 302) == tuple(
        int(0.6 * c) for c in BODY_COLOURS[3]
    )
    for far in (-1e5, 1e5, 1e18, -1e300):
        body[4, :2] = far, far
        picture = drawn(frame({BODY: flat(body)}))
        assert colour(picture, 176, 302) == BODY_COLOURS[3]


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (2000, 16)])
def test_odd_sizes(size):
    (read,) = read_poses(frame(whole_person()))
    picture = draw_pose(read, *size)
    assert picture.shape == (*size, 3) and picture.dtype == torch.float32 and 0 <= picture.min() <= picture.max() <= 1


def test_another_size_keeps_the_proportions():
    (read,) = read_poses(frame(PERSON))
    wide = draw_pose(read, 768, 1024)
    # Fitted in whole and centred: 256 pixels to each side, and limbs as for a shorter side of 768.
    assert colour(wide, 256 + 196, 204) == BODY_COLOURS[2] and colour(wide, 256 + 304, 676) == BODY_COLOURS[13]
    large = draw_pose(read, 1536, 1024)
    assert colour(large, 2 * 196, 2 * 204) == BODY_COLOURS[2]


def test_the_size_of_the_picture():
    frames = [Frame([]), Frame([], (768, 512)), Frame([], (100, 100))]
    assert picture_size(frames) == (768, 512)
    assert picture_size(frames, width=1024) == (1536, 1024)
    assert picture_size(frames, height=384) == (384, 256)
    assert picture_size(frames, 64, 32) == (64, 32)
    with pytest.raises(ValueError, match="Set width and height"):
        picture_size(frames[:1], width=64)
    with pytest.raises(ValueError, match="1024 x 16384 is too large"):
        picture_size(frames, LONGEST_SIDE * 2, 1024)


def test_normalised_poses_without_a_canvas_are_drawn_at_the_size_asked_for():
    (read,) = read_poses({"people": [{BODY: [0.5, 0.25, 1] + [0.0] * 51}]})
    assert read.canvas is None and colour(draw_pose(read, 400, 200), 100, 100) == BODY_COLOURS[0]
    with pytest.raises(PoseError, match="size of the picture is unknown"):
        to_keypoints([read])


def test_several_frames_with_progress():
    steps = []
    frames = read_poses([frame(PERSON), frame(PERSON, canvas_width=1024, canvas_height=1536), frame()])
    pictures = draw_poses(frames, 768, 512, on_step=lambda *step: steps.append(step))
    assert pictures.shape == (3, 768, 512, 3) and steps == [(1, 3), (2, 3), (3, 3)]
    assert torch.equal(pictures[0], draw_pose(frames[0], 768, 512)) and pictures[2].max() == 0


def test_json_round_trip():
    assert pose_json(parse_pose_json(STANDING_PERSON)) == STANDING_PERSON
    body = np.reshape(PERSON[BODY], (-1, 3)) + (0.12345, -0.006, -0.125)
    several = [frame({BODY: flat(body), LEFT: flat(scattered(21))}, {}), frame(), frame(whole_person())]
    text = pose_json(several)
    read = parse_pose_json(text)
    assert pose_json(read) == text
    assert [len(item["people"]) for item in read] == [2, 0, 1]
    assert read[0]["people"][0][BODY][:3] == [256.12, 129.99, 0.88]
    assert [line.count("_2d") for line in text.splitlines() if "_2d" in line] == [1] * 6


def test_json_of_one_frame_is_an_object_as_editors_want_it():
    assert isinstance(json.loads(pose_json([frame(PERSON)])), dict)
    for text in (STANDING_PERSON, f"[{STANDING_PERSON}]", "\ufeff" + STANDING_PERSON, json.dumps(frame(PERSON))):
        assert parse_pose_json(text) == to_keypoints(read_poses(frame(PERSON)))


def test_json_of_openpose_itself():
    person = {"person_id": [-1], BODY: flat(scattered(25)), FACE: [], LEFT: [0] * 63, "pose_keypoints_3d": []}
    text = json.dumps({"version": 1.3, "people": [person]})
    with pytest.raises(ValueError, match="Line 1, column 1: The points are pixels .* Add canvas_width"):
        parse_pose_json(text)
    (read,) = parse_pose_json(
        json.dumps({"version": 1.3, "people": [person], "canvas_width": 512, "canvas_height": 768})
    )
    assert len(read["people"][0][BODY]) == 54


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("126, 1]", "126, 1,]", r"Line 6, column \d+: this is not valid JSON after `.*126, 1,`"),
        ('512,\n  "canvas', '512\n  "canvas', 'Line 3, column 3: this is not valid JSON after `"canvas_width": 512`'),
        ("256, 130, 1", "256, 130", "Line 6, column 28: person 1, pose_keypoints_2d: 53 numbers; expected 17, 18"),
        ("256, 130, 1", "NaN, 130, 1", "Line 6, column 28: person 1, pose_keypoints_2d: point 1 holds NaN"),
        ("768", '"tall"', "Line 3, column 20: canvas_height: 'tall' is not a valid size"),
        ('"people": [', '"people": [7, ', "Line 4, column 14: person 1: a person must be"),
        (
            '    {\n      "pose',
            '    {}, {"hand_left_keypoints_2d": [1, 2],\n "pose',
            "Line 5, column 36: person 2, hand_left",
        ),
    ],
)
def test_json_errors_say_where(old, new, message):
    assert old in STANDING_PERSON
    with pytest.raises(ValueError, match=message):
        parse_pose_json(STANDING_PERSON.replace(old, new))


def test_json_errors_of_a_later_frame():
    broken = STANDING_PERSON.replace("256, 130, 1", "256, 130")
    with pytest.raises(ValueError, match="Line 15, column 28: frame 2, person 1, pose_keypoints_2d"):
        parse_pose_json(f"[{STANDING_PERSON},\n{broken}]")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The text is empty"),
        (" \n", "The text is empty"),
        ("[]", "Line 1, column 1: The pose holds no frames"),
        ("\n 5", "Line 2, column 2: The pose holds no frames"),
        ("[" * 100_000, "its brackets are nested too deep"),
        ('{"people": [], "people": [{}, {}, 5]}', "Line 1, column 35: person 3: a person must be"),
        ("a man", "Line 1, column 1: this is not valid JSON: Expecting value"),
        ('{"people": []', "Line 1, column 14: this is not valid JSON after"),
        ('{"people": []}', "Line 1, column 1: The size of the picture is unknown"),
    ],
)
def test_texts_that_hold_no_pose(text, message):
    with pytest.raises(ValueError, match=message):
        parse_pose_json(text)
