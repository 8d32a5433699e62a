"""Poses scaled, moved and mirrored, and the proportions of one person put on another."""

import json

import numpy as np
import pytest

from delta.pose.change import transform
from delta.pose.json_text import STANDING_PERSON
from delta.pose.people import Frame, Person, PoseError
from delta.pose.poses import read_poses
from delta.pose.proportions import with_proportions
from delta.pose.skeletons import ANIMAL_MIRROR, BODY_MIRROR, FACE_MIRROR, FEET_MIRROR

WIDTH, HEIGHT = 512, 768
NAMES = [
    *("nose", "neck", "R shoulder", "R elbow", "R wrist", "L shoulder", "L elbow", "L wrist"),
    *("R hip", "R knee", "R ankle", "L hip", "L knee", "L ankle", "R eye", "L eye", "R ear", "L ear"),
]
# Where iBUG's 68 points lie in a face from the front, by their usual picture: x to the right of the middle.
JAW = [(-8 + i, 8 - abs(i - 8) / 2) for i in range(17)]
BROWS = [(x, -5.0) for x in (-6, -5, -4, -3, -2, 2, 3, 4, 5, 6)]
NOSE = [(0, y) for y in (-4, -3, -2, -1)] + [(x, 0) for x in (-2, -1, 0, 1, 2)]
EYE = [(-2, 0), (-1, -1), (1, -1), (2, 0), (1, 1), (-1, 1)]
EYES = [(x - 4, y - 4) for x, y in EYE] + [(x + 4, y - 4) for x, y in EYE]
LIPS = [(-3, 4), (-2, 3), (-1, 3), (0, 3), (1, 3), (2, 3), (3, 4), (2, 5), (1, 5), (0, 5), (-1, 5), (-2, 5)]
INSIDE = [(-2, 4), (-1, 3.5), (0, 3.5), (1, 3.5), (2, 4), (1, 4.5), (0, 4.5), (-1, 4.5)]
FACE = JAW + BROWS + NOSE + EYES + LIPS + INSIDE + [(-4, -4), (4, -4)]


def standing() -> Frame:
    (frame,) = read_poses(json.loads(STANDING_PERSON))
    return frame


def pixels(points: np.ndarray) -> np.ndarray:
    return points[:, :2] * (WIDTH, HEIGHT)


def part(points) -> np.ndarray:
    return np.array([[x / WIDTH, y / HEIGHT, 1] for x, y in points])


def test_left_and_right_are_exchanged_by_their_names():
    swapped = {"R": "L", "L": "R"}
    for index, name in enumerate(NAMES):
        side, _, joint = name.partition(" ")
        assert NAMES[BODY_MIRROR[index]] == (f"{swapped[side]} {joint}" if joint else name)
    assert FEET_MIRROR == (3, 4, 5, 0, 1, 2)
    # The eyes and the front paws of AP-10K.
    assert [ANIMAL_MIRROR[i] for i in (0, 1, 2, 3, 4, 7, 13)] == [1, 0, 2, 3, 4, 10, 16]
    for index, (x, y) in enumerate(FACE):
        assert FACE[FACE_MIRROR[index]] == (-x, y)


def test_a_mirror_exchanges_joints_hands_and_feet():
    face = part([(100 + x, 200 + y) for x, y in FACE])
    left = part([(300 + 3 * i, 400) for i in range(21)])
    feet = part([(300 + i, 700) for i in range(6)])
    body = standing().people[0].body.copy()
    body[4] = 0
    frame = Frame([Person(body, face[:68], left_hand=left, feet=feet)], (HEIGHT, WIDTH))
    ((person,),) = [each.people for each in transform([frame], mirror=True)]
    # The left shoulder at 316 is the right one at 512 - 316.
    np.testing.assert_allclose(pixels(person.body)[2], [196, 204])
    np.testing.assert_allclose(pixels(person.body)[0], [256, 130])
    assert not person.body[7].any() and person.body[4].any()
    assert person.left_hand is None and np.allclose(pixels(person.right_hand), [(212 - 3 * i, 400) for i in range(21)])
    np.testing.assert_allclose(pixels(person.feet), [(212 - i, 700) for i in (3, 4, 5, 0, 1, 2)])
    np.testing.assert_allclose(pixels(person.face)[0], [512 - 108, 204])
    ((back,),) = [each.people for each in transform(transform([frame], mirror=True), mirror=True)]
    for name in ("body", "face", "left_hand", "feet"):
        np.testing.assert_allclose(getattr(back, name), getattr(frame.people[0], name), atol=1e-12)


def test_scaled_from_the_middle_and_moved():
    frame = standing()
    (smaller,) = transform([frame], 0.5, (0.25, -0.125))
    # Neck at 256, 200 on 512 x 768: the middle is 256, 384.
    np.testing.assert_allclose(pixels(smaller.people[0].body)[1], [256 + 128, 384 - 92 - 96])
    (own,) = transform([frame], 2.0, own_middle=True)
    low, high = (getattr(pixels(frame.people[0].body), side)(0) for side in ("min", "max"))
    np.testing.assert_allclose(pixels(own.people[0].body).min(0), (low + high) / 2 - (high - low))
    assert transform([Frame([Person()], (9, 9))], 2.0, own_middle=True)[0].people == [Person()]
    with pytest.raises(ValueError, match="cannot be scaled by 0"):
        transform([frame], 0.0)


def test_one_person_of_several():
    frame = standing()
    two = Frame([frame.people[0], frame.people[0]], frame.canvas, [part([(100 + i, 100) for i in range(17)])])
    (moved,) = transform([two], move=(0.1, 0), person=2)
    assert np.array_equal(moved.people[0].body, two.people[0].body) and np.array_equal(moved.animals[0], two.animals[0])
    np.testing.assert_allclose(moved.people[1].body[:, 0], two.people[1].body[:, 0] + 0.1)
    (alone,) = transform([two], person=1, alone=True)
    assert len(alone.people) == 1 and alone.animals == []
    (all_of_them,) = transform([two], mirror=True)
    np.testing.assert_allclose(pixels(all_of_them.animals[0])[0], [512 - 101, 100])
    with pytest.raises(PoseError, match="There is no person 3; no frame has more than 2"):
        transform([two], person=3)


def length(person: Person, start: int, end: int) -> float:
    joints = pixels(person.body)
    return float(np.hypot(*(joints[end] - joints[start])))


def direction(person: Person, start: int, end: int) -> np.ndarray:
    joints = pixels(person.body)
    return (joints[end] - joints[start]) / length(person, start, end)


def child() -> Frame:
    """Half as large on a picture of its own, with legs of three quarters of that and a head of twice that."""
    joints = pixels(standing().people[0].body) / 2
    for hip, knee, ankle in ((8, 9, 10), (11, 12, 13)):
        thigh, shin = joints[knee] - joints[hip], joints[ankle] - joints[knee]
        joints[knee] = joints[hip] + 0.75 * thigh
        joints[ankle] = joints[knee] + 0.75 * shin
    for end in (14, 15, 16, 17):
        joints[end] = joints[0] + 2 * (joints[end] - joints[0])
    return Frame([Person(np.column_stack([joints / (1000, 500), np.ones(18)]))], (500, 1000))


@pytest.mark.parametrize("stay", ["feet", "hips", "neck"])
def test_proportions_of_a_child(stay):
    frame = standing()
    (changed,), lines = with_proportions([frame], [child()], stay=stay)
    before, after = frame.people[0], changed.people[0]
    for start, end, ratio in ((2, 3, 1), (6, 7, 1), (8, 9, 0.75), (12, 13, 0.75), (0, 14, 2), (0, 17, 2), (1, 5, 1)):
        assert length(after, start, end) == pytest.approx(ratio * length(before, start, end))
        np.testing.assert_allclose(direction(after, start, end), direction(before, start, end), atol=1e-9)
    joints = {"feet": [10, 13], "hips": [8, 11], "neck": [1]}[stay]
    np.testing.assert_allclose(pixels(after.body)[joints].mean(0), pixels(before.body)[joints].mean(0))
    assert "thighs x 0.75" in lines[0] and "head x 2.00" in lines[0] and "torso x 1.00" in lines[0]
    (whole,), _ = with_proportions([frame], [child()], keep_size=False, stay=stay)
    assert length(whole.people[0], 2, 3) == pytest.approx(length(before, 2, 3) / 2)
    assert length(whole.people[0], 8, 9) == pytest.approx(length(before, 8, 9) * 0.375)
    (none,), _ = with_proportions([frame], [child()], 0.0)
    np.testing.assert_allclose(none.people[0].body, before.body)
    (half,), _ = with_proportions([frame], [child()], 0.5)
    assert length(half.people[0], 8, 9) == pytest.approx(length(before, 8, 9) * 0.75**0.5)


def test_ones_own_proportions_change_nothing():
    frame = standing()
    face, hand = part([(250 + x, 130 + y) for x, y in FACE]), part([(168 + i, 392 + i) for i in range(21)])
    feet = part([(304 + i, 690) for i in range(6)])
    whole = Frame([Person(frame.people[0].body, face, hand, hand, feet)], frame.canvas)
    (same,), _ = with_proportions([whole], [whole], keep_size=False)
    for name in ("body", "face", "left_hand", "right_hand", "feet"):
        np.testing.assert_allclose(getattr(same.people[0], name), getattr(whole.people[0], name), atol=1e-12)


def test_hands_faces_and_feet_go_with_their_joints():
    frame = standing()
    face, hand = part([(256 + x, 130 + y) for x, y in FACE]), part([(168 + i, 392 + 2 * i) for i in range(21)])
    feet = part([(0, 0)] * 3 + [(200, 690)] * 3)
    feet[:3] = 0
    whole = Frame([Person(frame.people[0].body, face, None, hand, feet)], frame.canvas)
    (changed,), lines = with_proportions([whole], [child()], stay="hips")
    before, after = whole.people[0], changed.people[0]
    # The face doubles about the nose, as the head does.
    np.testing.assert_allclose(
        pixels(after.face) - pixels(after.body)[0], 2 * (pixels(before.face) - pixels(before.body)[0]), atol=1e-9
    )
    # The reference has no hands: they stay as they are, at their wrist.
    np.testing.assert_allclose(
        pixels(after.right_hand) - pixels(after.body)[4], [(i, 2 * i) for i in range(21)], atol=1e-9
    )
    np.testing.assert_allclose(
        pixels(after.feet)[3] - pixels(after.body)[10],
        0.75 * (np.array([200, 690]) - pixels(before.body)[10]),
        atol=1e-9,
    )
    assert not after.feet[:3].any()
    assert "person 1: hands: not visible in the pose connected to proportions, so left as they are." in lines


def test_a_video_keeps_its_foreshortening():
    """One ratio for all frames, from where the arm looks longest."""
    first = standing()
    second = standing().people[0].body.copy()
    # The right forearm points at the viewer: half as long.
    second[4, :2] = (second[3, :2] + second[4, :2]) / 2
    second[7, :2] = (second[6, :2] + second[7, :2]) / 2
    frames = [Frame([Person(second)], first.canvas), first]
    long_arms = standing().people[0].body.copy()
    for elbow, wrist in ((3, 4), (6, 7)):
        long_arms[wrist, :2] = long_arms[elbow, :2] + 1.5 * (long_arms[wrist, :2] - long_arms[elbow, :2])
    changed, lines = with_proportions(frames, [Frame([Person(long_arms)], first.canvas)])
    assert "forearms x 1.50" in lines[0]
    for before, after in zip(frames, changed):
        assert length(after.people[0], 3, 4) == pytest.approx(1.5 * length(before.people[0], 3, 4))


def test_half_a_person():
    body = standing().people[0].body.copy()
    body[8:14] = 0
    frame = Frame([Person(body)], (HEIGHT, WIDTH))
    (changed,), _ = with_proportions([frame], [child()])
    after = changed.people[0]
    # Without hips the shoulders tell the size, and the neck stays.
    assert length(after, 2, 3) == pytest.approx(length(frame.people[0], 2, 3)) and not after.body[8:14].any()
    np.testing.assert_allclose(after.body[1], body[1])
    assert length(after, 0, 16) == pytest.approx(2 * length(frame.people[0], 0, 16))
    # A wrist without its elbow goes along.
    body[3] = 0
    frame = Frame([Person(body)], (HEIGHT, WIDTH))
    (changed,), _ = with_proportions([frame], [frame], keep_size=False)
    np.testing.assert_allclose(changed.people[0].body, body)


def test_the_lower_foot_stays_on_the_ground():
    body = standing().people[0].body.copy()
    body[13, 1] -= 0.1
    (changed,), _ = with_proportions([Frame([Person(body)], (HEIGHT, WIDTH))], [child()])
    after = changed.people[0].body
    assert max(after[10, 1], after[13, 1]) == pytest.approx(body[10, 1])
    assert after[[10, 13], 0].mean() == pytest.approx(body[[10, 13], 0].mean())


def test_what_cannot_be_compared():
    frame = standing()
    with pytest.raises(PoseError, match="The pose connected to proportions contains no body"):
        with_proportions([frame], [Frame([Person()], (9, 9))])
    nose = np.zeros((18, 3))
    nose[:2] = 0.5, 0.5, 1
    nose[0, 1] = 0.4
    with pytest.raises(PoseError, match="this person shares no visible parts"):
        with_proportions([Frame([Person(nose)], (9, 9))], [frame])
    with pytest.raises(PoseError, match="size of the picture is unknown"):
        with_proportions([Frame(frame.people)], [frame])
    with pytest.raises(PoseError, match="no person 2"):
        with_proportions([frame], [frame], person=2)
    (empty,), lines = with_proportions([Frame([], (9, 9))], [frame])
    assert empty.people == [] and lines == []
