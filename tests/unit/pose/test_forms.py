"""Every form in which detectors, editors and data sets keep poses is read, by the names of its points, or refused."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from delta.pose.drawing import DrawOptions, draw_pose
from delta.pose.json_text import STANDING_PERSON, parse_pose_json, understand_any
from delta.pose.people import PoseError
from delta.pose.poses import to_keypoints, understand
from delta.pose.skeletons import ANIMAL_COLOURS, BODY_COLOURS
from delta.pose.writing import pose_json

HEIGHT, WIDTH = 600, 800
SIZE = (HEIGHT, WIDTH)
CANVAS = {"canvas_height": HEIGHT, "canvas_width": WIDTH}
SIDED = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
# The orders as their makers list them.
COCO = ["nose", *(f"{side} {part}" for part in SIDED for side in ("left", "right"))]
COCO_17 = COCO[:1] + ["left eye", "right eye", "left ear", "right ear"] + COCO[5:]
FEET = [f"{side} {part}" for side in ("left", "right") for part in ("big toe", "small toe", "heel")]
HALPE_26 = [
    *COCO_17,
    "head",
    "neck",
    "hip",
    *(f"{s} {p}" for p in ("big toe", "small toe", "heel") for s in ("left", "right")),
]
OPENPOSE_18 = [
    *("nose", "neck"),
    *(f"{side} {part}" for side in ("right", "left") for part in ("shoulder", "elbow", "wrist")),
    *(f"{side} {part}" for side in ("right", "left") for part in ("hip", "knee", "ankle")),
    *("right eye", "left eye", "right ear", "left ear"),
]
BODY_25 = [*OPENPOSE_18[:8], "middle of the hips", *OPENPOSE_18[8:], *FEET]
MEDIAPIPE_33 = [
    "nose",
    *("left eye inner", "left eye", "left eye outer", "right eye inner", "right eye", "right eye outer"),
    *("left ear", "right ear", "mouth left", "mouth right"),
    *(f"{s} {p}" for p in ("shoulder", "elbow", "wrist", "pinky", "index", "thumb") for s in ("left", "right")),
    *(f"{s} {p}" for p in ("hip", "knee", "ankle", "heel", "foot index") for s in ("left", "right")),
]
FACE = [f"face {index}" for index in range(68)]
HANDS = {side: [f"{side} hand {index}" for index in range(21)] for side in ("left", "right")}
WHOLEBODY_133 = [*COCO_17, *FEET, *FACE, *HANDS["left"], *HANDS["right"]]
HALPE_136 = [*HALPE_26, *FACE, *HANDS["left"], *HANDS["right"]]
DWPOSE_134 = [*OPENPOSE_18, *FEET, *FACE, *HANDS["left"], *HANDS["right"]]
EVERY_NAME = sorted({*BODY_25, *HALPE_136, *MEDIAPIPE_33})


def place(name: str) -> list[float]:
    """Where a point is, in pixels: of its own for each name, but the neck in the middle of the shoulders."""
    if name == "neck":
        return [(a + b) / 2 for a, b in zip(place("left shoulder"), place("right shoulder"))]
    index = EVERY_NAME.index(name)
    return [20.0 + 3 * index, 590.0 - 2 * index]


def points(names: list[str], *extra: float) -> list[list[float]]:
    return [[*place(name), *extra] for name in names]


def flat(rows: list[list[float]]) -> list[float]:
    return [number for row in rows for number in row]


def in_unit(rows) -> list[list[float]]:
    return [[x / WIDTH, y / HEIGHT, *rest] for x, y, *rest in rows]


def person_of(data, size=None):
    (frame,) = understand(data, size).frames
    (person,) = frame.people
    return person


def assert_points(part: np.ndarray, names: list[str | None]) -> None:
    expected = np.array([[*place(name), 1.0] if name else [0, 0, 0] for name in names])
    np.testing.assert_allclose(part * (WIDTH, HEIGHT, 1), expected, atol=1e-9)


def assert_whole(person, feet: list[str | None] | None = FEET) -> None:
    assert_points(person.body, OPENPOSE_18)
    assert_points(person.face, FACE)
    assert_points(person.left_hand, HANDS["left"])
    assert_points(person.right_hand, HANDS["right"])
    assert_points(person.feet, feet)


@pytest.mark.parametrize("names", [COCO_17, OPENPOSE_18, BODY_25, HALPE_26], ids=len)
@pytest.mark.parametrize("confidences", [True, False])
def test_bodies_by_the_number_of_their_points(names, confidences):
    rows = points(names, 1.0) if confidences else points(names)
    for written in (rows, flat(rows)):
        person = person_of({"people": [{"pose_keypoints_2d": written}], **CANVAS})
        assert_points(person.body, OPENPOSE_18)
        if len(names) > 18:
            assert_points(person.feet, FEET)


@pytest.mark.parametrize("names", [WHOLEBODY_133, HALPE_136, DWPOSE_134], ids=len)
def test_whole_people_in_one_list(names):
    rows = points(names, 1.0)
    data = {"people": [{"pose_keypoints_2d": flat(rows)}], **CANVAS}
    assert_whole(person_of(data))
    assert f"{len(names)} points" in understand(data).report()
    assert_whole(person_of(rows, SIZE))
    assert_whole(person_of(np.array([rows]), SIZE))
    assert_whole(person_of(flat(rows), SIZE))


def test_wan_animates_twenty_points_end_in_toes():
    rows = [*points(OPENPOSE_18, 1.0), [100, 500, 1], [200, 510, 1]]
    person = person_of({"people": [{"pose_keypoints_2d": flat(rows)}], **CANVAS})
    assert_points(person.body, OPENPOSE_18)
    assert (person.feet[[0, 3]] * (WIDTH, HEIGHT, 1)).tolist() == [[100, 500, 1], [200, 510, 1]]
    assert not person.feet[[1, 2, 4, 5]].any()


def test_openposes_own_json_takes_the_size_it_is_told():
    person = {"person_id": [-1], "pose_keypoints_2d": flat(points(BODY_25, 1.0)), "face_keypoints_2d": []}
    data = {"version": 1.3, "people": [person]}
    with pytest.raises(PoseError, match="picture of unknown size. Add canvas_width .* or set width and height"):
        understand(data)
    read = understand(data, SIZE)
    assert read.frames[0].canvas == SIZE and "800 x 600 was used" in read.report()
    assert_points(read.frames[0].people[0].body, OPENPOSE_18)
    # A size of its own counts more.
    assert understand({**data, **CANVAS}, (10, 10)).frames[0].canvas == SIZE
    (keypoints,) = parse_pose_json(json.dumps(data), SIZE)
    assert keypoints["canvas_width"] == WIDTH and keypoints["people"][0]["pose_keypoints_2d"][:2] == place("nose")


def test_the_first_openpose_names_its_parts_without_2d():
    person = {
        "pose_keypoints": flat(points(OPENPOSE_18, 1.0)),
        "hand_left_keypoints": flat(points(HANDS["left"], 1.0)),
        "face_keypoints": [],
    }
    read = person_of({"people": [person], **CANVAS})
    assert_points(read.body, OPENPOSE_18)
    assert_points(read.left_hand, HANDS["left"])


def test_people_without_parts_that_are_known_are_refused():
    for parts in ({"pose_keypoints_3d": [1, 2, 3, 1] * 25}, {"joints": [[1, 2]]}):
        (name,) = parts
        for more in ({}, {"pose_keypoints_2d": [], "hand_left_keypoints_2d": [0] * 63}):
            with pytest.raises(PoseError, match=f"person 1: there are no known points, only {name}"):
                understand({"people": [parts | more], **CANVAS})
    both = {"pose_keypoints_2d": flat(points(OPENPOSE_18, 1.0)), "pose_keypoints_3d": [1, 2, 3, 1]}
    assert "person 1: pose_keypoints_3d was left out." in understand({"people": [both], **CANVAS}).report()
    assert understand({"people": [{"person_id": [-1], "pose_keypoints_2d": []}], **CANVAS}).notes == []


def test_normalised_points_without_a_canvas():
    data = {"people": [{"pose_keypoints_2d": flat(in_unit(points(OPENPOSE_18, 1.0)))}]}
    assert understand(data).frames[0].canvas is None
    read = understand(data, SIZE)
    assert_points(read.frames[0].people[0].body, OPENPOSE_18)
    assert to_keypoints(read.frames)[0]["canvas_height"] == HEIGHT
    with pytest.raises(ValueError, match="size of the picture is unknown.*set width and height"):
        parse_pose_json(json.dumps(data))


def test_missing_points_as_null():
    rows = points(OPENPOSE_18, 1.0)
    rows[4], rows[7] = [None, None, 0], [None, None, None]
    body = person_of({"people": [{"pose_keypoints_2d": rows}], **CANVAS}).body
    assert not body[[4, 7]].any() and body[3, 2] == 1
    assert np.array_equal(body, person_of({"people": [{"pose_keypoints_2d": flat(rows)}], **CANVAS}).body)
    rows[4] = [None, 5, 0.5]
    with pytest.raises(PoseError, match="point 5 holds NaN, null"):
        understand({"people": [{"pose_keypoints_2d": rows}], **CANVAS})


def test_points_with_names():
    rows = [{"x": x, "y": y, "score": 0.5} for x, y in points(OPENPOSE_18)]
    rows[2] = None
    body = person_of({"people": [{"keypoints": rows}], **CANVAS}).body
    assert body[1, 2] == 0.5 and not body[2].any()
    with pytest.raises(PoseError, match="point 3: a point must have x and y"):
        understand({"people": [{"keypoints": [*rows[:2], {"x": 1}, *rows[3:]]}], **CANVAS})


@pytest.mark.parametrize("count", [1, 56, 67, 69])
def test_faces_of_detectors_that_leave_points_out_are_drawn(count):
    """ControlNet's OpenPose drops what it does not find, so every point that is there is one of a face."""
    rows = [[100 + 8 * (i % 10), 100 + 8 * (i // 10), 1] for i in range(count)]
    body = flat(points(OPENPOSE_18, 1.0))
    read = understand({"people": [{"face_keypoints_2d": flat(rows), "pose_keypoints_2d": body}], **CANVAS})
    (person,) = read.frames[0].people
    assert_points(person.body, OPENPOSE_18)
    assert f"face_keypoints_2d: {count} points instead of 68 or 70" in read.report()
    picture = draw_pose(read.frames[0], HEIGHT, WIDTH, DrawOptions(body=False))
    assert all(picture[y, x].min() == 1 for x, y, _ in rows)
    (keypoints,) = to_keypoints(read.frames)
    assert keypoints["people"][0]["face_keypoints_2d"] == flat(rows) + [0.0] * 3 * (70 - count)


def test_wan_animates_face_of_69_among_openpose_parts():
    face = [[700, 590, 1], *([100 + i, 100, 1] for i in range(68))]
    read = understand({"people": [{"face_keypoints_2d": flat(face)}], **CANVAS})
    assert read.frames[0].people[0].face[0, 0] == 100 / WIDTH and len(read.frames[0].people[0].face) == 68
    assert "the first one is WanAnimate's right heel and was left out" in read.report()


def test_parts_of_unknown_counts_do_not_cost_the_pose():
    person = {
        "pose_keypoints_2d": flat(points(OPENPOSE_18, 1.0)),
        "face_keypoints_2d": [[5, 5, 1]] * 106,
        "hand_left_keypoints_2d": [[5, 5, 1]] * 20,
        "foot_keypoints_2d": [[5, 5, 1]] * 4,
    }
    read = understand({"people": [person, person], **CANVAS})
    assert_points(read.frames[0].people[0].body, OPENPOSE_18)
    assert read.frames[0].people[1].face is read.frames[0].people[1].left_hand is None
    assert read.notes == [
        "person 1, face_keypoints_2d (2 times): a face of 106 points was left out; only 68 and 70 are supported.",
        "person 1, hand_left_keypoints_2d (2 times): a hand of 20 points was left out; only 21 are supported.",
        "person 1, foot_keypoints_2d (2 times): feet of 4 points were left out; only 6 are supported.",
    ]


def test_a_confidence_of_zero_everywhere_is_said():
    unsure = {"people": [{"pose_keypoints_2d": flat(points(OPENPOSE_18, 0.0))}], **CANVAS}
    with pytest.raises(PoseError, match="confidence 0.*Set the confidence of the points to draw to 1"):
        understand(unsure)
    sure = {"people": [{"pose_keypoints_2d": flat(points(OPENPOSE_18, 1.0))}], **CANVAS}
    read = understand([sure, unsure])
    assert len(read.frames) == 2 and "frame 2: all points have confidence 0" in read.report()
    # Nobody found is no fault.
    assert understand({"people": [{"pose_keypoints_2d": [0.0] * 54}], **CANVAS}).notes == []
    assert understand({"people": [{"pose_keypoints_2d": [-1, -1, -0.1] * 18}], **CANVAS}).notes == []


def test_the_first_editors():
    joints = points(OPENPOSE_18)
    joints[17] = [-1, -1]
    for keypoints in (joints, [joints]):
        person = person_of({"width": WIDTH, "height": HEIGHT, "keypoints": keypoints})
        assert_points(person.body, [*OPENPOSE_18[:17], None])
    for keypoints in (joints + joints, [joints, joints]):
        (frame,) = understand({"width": WIDTH, "height": str(HEIGHT), "keypoints": keypoints}).frames
        assert frame.canvas == SIZE and len(frame.people) == 2
    with pytest.raises(PoseError, match="keypoints: 19 points; expected 18 for each person"):
        understand({"width": WIDTH, "height": HEIGHT, "keypoints": [*joints, [1, 1]]})


def coco_file(**annotation) -> dict:
    seen = [[x, y, 2] for x, y in points(COCO_17)]
    seen[3][2], seen[4] = 1, [0, 0, 0]
    parts = {
        "foot_kpts": flat(points(FEET, 1.0)),
        "face_kpts": flat(points(FACE, 1.0)),
        "lefthand_kpts": flat(points(HANDS["left"], 1.0)),
        "righthand_kpts": flat(points(HANDS["right"], 1.0)),
    }
    return {
        "images": [{"id": 7, "width": WIDTH, "height": HEIGHT}, {"id": 3, "width": 10, "height": 20}],
        "annotations": [{"image_id": 7, "category_id": 1, "keypoints": flat(seen), **parts, **annotation}],
        "categories": [{"id": 1, "name": "person", "keypoints": ["nose"]}],
    }


def test_coco_annotations():
    first, second = understand(coco_file()).frames
    assert (first.canvas, second.canvas, second.people) == (SIZE, (20, 10), [])
    (person,) = first.people
    # The hidden left ear is there, the right one is not.
    assert_points(person.body, [name if name != "right ear" else None for name in OPENPOSE_18])
    assert_points(person.face, FACE)
    assert_points(person.left_hand, HANDS["left"])
    assert_points(person.right_hand, HANDS["right"])
    assert_points(person.feet, FEET)
    crowd = coco_file()
    crowd["annotations"].append({"image_id": 3, "bbox": [1, 2, 3, 4]})
    assert "annotation 2: it has no keypoints and was left out." in understand(crowd).report()


def test_detectors_results_in_cocos_form():
    rows = [[x, y, 0.5] for x, y in points(HALPE_136)]
    results = [
        {"image_id": "b.jpg", "category_id": 1, "keypoints": flat(rows), "score": 3.1},
        {"image_id": "a.jpg", "category_id": 1, "keypoints": flat(points(HALPE_26, 1.0)), "score": 2.9},
        {"image_id": "b.jpg", "category_id": 1, "keypoints": flat(points(HALPE_136, 1.0)), "score": 2.9},
    ]
    first, second = understand(results, SIZE).frames
    assert len(first.people) == 2 and len(second.people) == 1
    assert_whole(first.people[1])
    assert first.people[0].body[0, 2] == 0.5
    with pytest.raises(PoseError, match="set width and height"):
        understand(results)


def mmpose_instance(names: list[str], score: float = 1.0) -> dict:
    return {
        "keypoints": points(names),
        "keypoint_scores": [score] * len(names),
        "bbox": [[0, 0, 9, 9]],
        "bbox_score": 1,
    }


def test_mmpose():
    instance = mmpose_instance(WHOLEBODY_133)
    meta = {"dataset_name": "coco_wholebody", "keypoint_id2name": {"0": "nose"}}
    for data in (
        {"meta_info": meta, "instance_info": [instance]},
        {"meta_info": meta, "instance_info": [{"frame_id": 1, "instances": [instance]}]},
        {"predictions": [[instance]], "visualization": []},
        [instance],
        [{"frame_id": 0, "instances": [instance]}],
        [{**instance, "keypoints": [instance["keypoints"]], "keypoint_scores": [instance["keypoint_scores"]]}],
    ):
        assert_whole(person_of(data, SIZE))
    video = {"instance_info": [{"frame_id": i, "instances": [instance] * i} for i in range(3)]}
    assert [len(frame.people) for frame in understand(video, SIZE).frames] == [0, 1, 2]
    assert person_of([mmpose_instance(COCO_17, 0.25)], SIZE).body[1, 2] == 0.25
    h36m = {"dataset_name": "h36m", "keypoint_id2name": {"0": "root"}}
    with pytest.raises(PoseError, match="the points of h36m begin with root, and their order is unknown"):
        understand({"meta_info": h36m, "instance_info": [mmpose_instance(COCO_17)]}, SIZE)
    with pytest.raises(PoseError, match="2 scores for 17 points"):
        understand([{**mmpose_instance(COCO_17), "keypoint_scores": [1, 1]}], SIZE)


def landmarks(names: list[str], visibility: float = 1.0) -> list[dict]:
    return [{"x": x, "y": y, "z": -0.1, "visibility": visibility} for x, y in in_unit(points(names))]


def test_mediapipe():
    pose = landmarks(MEDIAPIPE_33)
    feet = ["left foot index", None, "left heel", "right foot index", None, "right heel"]
    for data in (
        pose,
        {"pose_landmarks": pose},
        {"poseLandmarks": pose, "poseWorldLandmarks": [{"x": 1, "y": 2}] * 33},
        {"pose_landmarks": {"landmark": pose}},
        {"landmarks": [pose], "worldLandmarks": []},
    ):
        person = person_of(data, SIZE)
        assert_points(person.body, OPENPOSE_18)
        assert_points(person.feet, feet)
    assert "metres" in understand({"poseLandmarks": pose, "poseWorldLandmarks": [{}]}, SIZE).report()
    assert len(understand({"pose_landmarks": [pose, pose]}, SIZE).frames[0].people) == 2
    face = [{"x": index / 1000, "y": 0.5, "visibility": 0.0} for index in range(478)]
    holistic = {
        "poseLandmarks": pose,
        "leftHandLandmarks": landmarks(HANDS["left"], 0.0),
        "faceLandmarks": face,
        **{"width": WIDTH, "height": HEIGHT},
    }
    person = person_of(holistic)
    assert_points(person.left_hand, HANDS["left"])
    assert person.right_hand is None and person.face.shape == (70, 3)
    # The chin, the tip of the nose, the corners of the mouth, the right and the left iris.
    assert (person.face[[8, 30, 48, 54, 68, 69], 0] * 1000).round().tolist() == [152, 4, 61, 291, 468, 473]
    with pytest.raises(PoseError, match="unclear whose hands"):
        understand({"pose_landmarks": [pose, pose], "left_hand_landmarks": [landmarks(HANDS["left"])]}, SIZE)


def wan_meta() -> dict:
    toes = [[x / WIDTH, y / HEIGHT, 1] for x, y in ([100, 500], [200, 510])]
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "keypoints_body": in_unit(points(OPENPOSE_18, 1.0)) + toes,
        "keypoints_left_hand": in_unit(points(HANDS["left"], 1.0)),
        "keypoints_right_hand": in_unit(points(HANDS["right"], 1.0)),
        # Its face begins with the right heel.
        "keypoints_face": [[-0.9, -0.9, 0.8], *in_unit(points(FACE, 1.0))],
    }


def test_wan_animates_metadata():
    meta = wan_meta()
    numpy_meta = {key: np.array(value) if isinstance(value, list) else value for key, value in meta.items()}
    objects = SimpleNamespace(width=WIDTH, height=HEIGHT)
    for ours, theirs in (("body", "body"), ("left_hand", "lhand"), ("right_hand", "rhand"), ("face", "face")):
        rows = np.array(meta[f"keypoints_{ours}"])
        setattr(objects, f"kps_{theirs}", rows[:, :2] * (WIDTH, HEIGHT))
        setattr(objects, f"kps_{theirs}_p", rows[:, 2])
    in_pixels = {**meta, "keypoints_left_hand": points(HANDS["left"], 1.0)}
    for data in (
        meta,
        [meta],
        numpy_meta,
        objects,
        in_pixels,
        {"pose_metas": [objects], "pose_metas_original": [meta]},
    ):
        read = understand(data)
        (person,) = read.frames[0].people
        assert read.frames[0].canvas == SIZE
        for part, names in (("body", OPENPOSE_18), ("face", FACE)):
            assert_points(getattr(person, part), names)
        for side in ("left", "right"):
            assert_points(getattr(person, f"{side}_hand"), HANDS[side])
        assert (person.feet[[0, 3]] * (WIDTH, HEIGHT, 1)).round(6).tolist() == [[100, 500, 1], [200, 510, 1]]
    assert len(understand([meta] * 3).frames) == 3
    none = {**meta, "keypoints_body": [None, *meta["keypoints_body"][1:]]}
    assert_points(person_of(none).body, [None, *OPENPOSE_18[1:]])


def scene(width: float = 34, turned: float = 0.0) -> dict:
    """The editor's own body, seen from the front from 300 away."""
    child = {
        "five": {"position": [0, 23, 0]},
        "nose": {"position": [0, 20, 14]},
        "right_eye": {"position": [-3, 3, -3]},
        "left_eye": {"position": [3, 3, -3]},
        "right_ear": {"position": [-4, -3, -8]},
        "left_ear": {"position": [4, -3, -8], "scale": [1, 1, 1]},
    }
    for side, sign in (("right", -1), ("left", 1)):
        child |= {
            f"{side}_shoulder": {"position": [sign * width / 2, 0, 0]},
            f"{side}_elbow": {"position": [0, -25, 0]},
            f"{side}_wrist": {"position": [0, -25, 0]},
            f"{side}_hip": {"position": [sign * 10, -46, 0]},
            f"{side}_knee": {"position": [0, -40, 0]},
            f"{side}_ankle": {"position": [0, -36, 0]},
        }
    child["right_shoulder"]["rotation"] = [0, 0, turned, "XYZ"]
    body = {"position": [0, 115, 0], "rotation": [0, 0, 0, "XYZ"], "scale": [1, 1, 1], "child": child}
    camera = {"position": [0, 115, 300], "rotation": [0, 0, 0, "XYZ"], "near": 0.1, "far": 10000, "zoom": 1}
    return {"header": "Openpose Editor by Yu Zhu", "version": "0.1.23", "object": {"bodies": [body], "camera": camera}}


def test_scenes_of_the_3d_editor():
    with pytest.raises(PoseError, match="gives no picture size. Set width and height"):
        understand(scene())
    read = understand(scene(), SIZE)
    body = read.frames[0].people[0].body * (WIDTH, HEIGHT, 1)
    # A camera of 60 degrees shows 2 * 300 * tan 30 = 346.4 in 600 pixels: 1.732 pixels for each unit at the body.
    unit = 600 / (600 * np.tan(np.pi / 6))
    np.testing.assert_allclose(body[1], [400, 300 - 23 * unit, 1], atol=1e-6)
    # The person's right is on the left of the picture.
    np.testing.assert_allclose(body[2], [400 - 17 * unit, 300 - 23 * unit, 1], atol=1e-6)
    np.testing.assert_allclose(body[13], [400 + 10 * unit, 300 + 99 * unit, 1], atol=1e-6)
    # The nose is 14 nearer.
    np.testing.assert_allclose(body[0], [400, 300 - 43 * unit * 300 / 286, 1], atol=1e-6)
    assert "Hands and feet of the 3-D editor's scenes were left out" in read.report()
    # A turn of a quarter about z, clockwise for the eye, takes the hanging arm to the person's right.
    turned = understand(scene(turned=-np.pi / 2), SIZE).frames[0].people[0].body * (WIDTH, HEIGHT, 1)
    np.testing.assert_allclose(turned[4], [400 - 67 * unit, 300 - 23 * unit, 1], atol=1e-6)
    behind = scene()
    behind["object"]["camera"]["position"] = [0, 115, -300]
    assert understand(behind, SIZE).frames[0].people[0].body is None
    gesture = {"header": "Openpose Editor by Yu Zhu", "object": {"hand": {}}}
    with pytest.raises(PoseError, match="contains no bodies"):
        understand(gesture, SIZE)


def test_scenes_of_the_first_3d_editors():
    """They did not save `five`, and turned both shoulders, and both hips, in one group."""
    first = scene()
    child = first["object"]["bodies"][0]["child"]
    del child["five"]
    unit = 600 / (600 * np.tan(np.pi / 6))

    def seen() -> np.ndarray:
        return understand(first, SIZE).frames[0].people[0].body * (WIDTH, HEIGHT, 1)

    same = understand(scene(), SIZE).frames[0].people[0].body * (WIDTH, HEIGHT, 1)
    np.testing.assert_allclose(seen(), same, atol=1e-6)
    child["shoulder"] = {"rotation": [0, 0, -np.pi / 2, "XYZ"]}
    child["hip"] = {"position": [0, 0, 0], "rotation": [0, 0, np.pi / 2, "XYZ"], "scale": [1, 1, 1]}
    body = seen()
    np.testing.assert_allclose(body[1], [400, 300 - 23 * unit, 1], atol=1e-6)
    # A quarter turn takes (-17, 0) to (0, 17), and the arm that hangs to the left of the picture.
    np.testing.assert_allclose(body[2], [400, 300 - 40 * unit, 1], atol=1e-6)
    np.testing.assert_allclose(body[4], [400 - 50 * unit, 300 - 40 * unit, 1], atol=1e-6)
    # The other way round (-10, -46) comes to (46, -10), and the leg below it points to the right.
    np.testing.assert_allclose(body[8], [400 + 46 * unit, 300 - 13 * unit, 1], atol=1e-6)
    np.testing.assert_allclose(body[10], [400 + 122 * unit, 300 - 13 * unit, 1], atol=1e-6)


def test_animals_are_drawn_in_their_own_skeleton():
    animal = [[20 * index + 40, 60 + 97 * index % 500, 0.9] for index in range(17)]
    animal[7] = [0, 0, 0]
    data = [{"version": "ap10k", "animals": [animal], **CANVAS}]
    read = understand(data)
    assert "animals: 1" in read.report()
    picture = draw_pose(read.frames[0], HEIGHT, WIDTH)
    # From the neck to the root of the tail, and from there to the right hip.
    for (start, end), limb in (((3, 4), 10), ((4, 14), 11)):
        x, y = (np.array(animal[start][:2]) * 0.4 + np.array(animal[end][:2]) * 0.6).round().astype(int)
        assert tuple((picture[y, x] * 255).round().int().tolist()) == ANIMAL_COLOURS[limb]
    assert draw_pose(read.frames[0], HEIGHT, WIDTH, DrawOptions(body=False)).max() == 0
    (keypoints,) = to_keypoints(read.frames)
    assert keypoints["animals"] == [animal]
    assert understand(json.loads(pose_json(data))).frames[0].animals[0].tolist() == read.frames[0].animals[0].tolist()
    ap10k = coco_file()
    ap10k["categories"] = [
        {"id": 1, "name": "fox", "keypoints": ["left_eye", "right_eye", "nose", "neck", "root_of_tail"]}
    ]
    assert len(understand(ap10k).frames[0].animals) == 1
    meta = {"dataset_name": "ap10k", "keypoint_id2name": {"0": "L_Eye"}}
    assert (
        len(understand({"meta_info": meta, "instance_info": [mmpose_instance(COCO_17)]}, SIZE).frames[0].animals) == 1
    )


def test_feet_are_drawn_when_asked_for():
    feet = [[50 + 60 * index, 300, 1] for index in range(6)]
    frame = understand({"people": [{"foot_keypoints_2d": flat(feet)}], **CANVAS}).frames[0]
    assert draw_pose(frame, HEIGHT, WIDTH).max() == 0
    picture = draw_pose(frame, HEIGHT, WIDTH, DrawOptions(feet=True))
    shown = [tuple((picture[y, x] * 255).round().int().tolist()) for x, y, _ in feet]
    assert shown == BODY_COLOURS[:6]


def test_text_is_read_where_a_pose_is_expected():
    assert understand_any(STANDING_PERSON).frames[0].canvas == (768, 512)
    assert pose_json(STANDING_PERSON) == STANDING_PERSON
    with pytest.raises(ValueError, match="Line 1, column 1: this is not valid JSON"):
        understand_any("a man")
    with pytest.raises(ValueError, match="Line 2, column 12: .*instance 1"):
        understand_any('{"instance_info": [\n 5]}'.replace(" 5", "          " + " 5"), SIZE)


def test_frames_of_several_forms_in_one_list():
    editor = {"width": WIDTH, "height": HEIGHT, "keypoints": points(OPENPOSE_18)}
    read = understand([{"people": [], **CANVAS}, editor, wan_meta()])
    assert [len(frame.people) for frame in read.frames] == [0, 1, 1]
    assert read.report().splitlines()[0] == (
        "Read OpenPose JSON and a pose editor's width, height and keypoints and WanAnimate's metadata: "
        "3 frames of 800 x 600; bodies: 2, faces: 1, left hands: 1, right hands: 1, feet: 1."
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"sequence": 3}, "There is no list of people or any other known form"),
        ([[1, 2], [3, 4]], "frame 1: there is no list of people"),
        ([1.0] * 57, "57 numbers; expected 17, 18"),
        ({"annotations": [4]}, "annotation 1: an annotation must contain keypoints"),
        ({"instance_info": 4}, "instance_info: it must be a list of instances"),
        ({"pose_landmarks": 4}, "pose_landmarks: it must be a list of landmarks"),
        ({"keypoints": [[10, 20]] * 18}, "picture of unknown size"),
        ({"keypoints_body": [[0.1, 0.1]] * 19}, "keypoints_body: 57 numbers; expected"),
        ({"keypoints": [[1, 2]] * 18, "width": 9, "height": "tall"}, "height: 'tall' is not a valid size"),
        ({"pose_metas": [5]}, "there is no keypoints_body in 5"),
        ({"pose_metas": 5}, "pose_metas: it must be a list"),
        (
            [{"keypoints": [[1, 2]] * 17, "keypoint_scores": ["a"] * 17}],
            "keypoint_scores: it contains something other than",
        ),
        ({"people": [{"pose_keypoints_2d": [5, [1, 2, 3]]}]}, "it contains something other than numbers"),
        ({"people": [{"pose_keypoints_2d": "1, 2"}]}, "pose_keypoints_2d: it must be a list of numbers"),
    ],
)
def test_what_is_refused(data, message):
    with pytest.raises(PoseError, match=message):
        understand(data)
