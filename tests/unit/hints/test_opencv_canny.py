"""Canny as annotators call it, beside what OpenCV itself drew.

The pictures in opencv/ are cv2.Canny(picture, low, high) of opencv-python-headless 5.0.0, and 4.10.0 gave the same, of
pictures that scikit-image carries (the astronaut at every second pixel) and of noise, as below.
"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from delta.hints.opencv_canny import opencv_canny
from delta.hints.work import Work

DRAWN = Path(__file__).parent / "opencv"
PICTURES = {
    "astronaut": data.astronaut()[::2, ::2],
    "coffee": data.coffee(),
    "chelsea": data.chelsea(),
    "noise": np.random.default_rng(1).integers(0, 256, (67, 91, 3), dtype=np.uint8),
}


@pytest.mark.parametrize("name", [path.stem for path in sorted(DRAWN.glob("*.png"))])
def test_it_is_that_of_opencv_pixel_for_pixel(name: str):
    picture, low, high = name.split("_")
    of_opencv = np.asarray(Image.open(DRAWN / f"{name}.png"), np.float32)
    ours = opencv_canny(
        (PICTURES[picture] / 255).astype(np.float32), (int(low) / 1000, int(high) / 1000), Work(rows=50)
    )
    assert 0.02 < of_opencv.mean() < 0.5 and np.array_equal(ours, of_opencv)


def test_the_thresholds_are_those_of_annotators_unless_given():
    of_opencv = np.asarray(Image.open(DRAWN / "coffee_100_200.png"), np.float32)
    assert np.array_equal(opencv_canny((PICTURES["coffee"] / 255).astype(np.float32)), of_opencv)
