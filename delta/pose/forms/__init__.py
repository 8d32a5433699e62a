"""Readers of the forms in which detectors, editors and data sets keep poses, one file each; the first that fits is taken."""

from . import bare, coco, editor, mediapipe, mmpose, openpose, scene, wan_animate

FORMS = (
    openpose.FORM,
    scene.FORM,
    wan_animate.FORM,
    mmpose.FORM,
    coco.FORM,
    mediapipe.FORM,
    editor.FORM,
    bare.FORM,
)
