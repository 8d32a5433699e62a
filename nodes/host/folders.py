"""The host's folders: which files there are, where they are, and when they change."""

from __future__ import annotations

import os

import folder_paths

STYLE_NETWORKS = "style_networks"
CONTROL_NETS = "controlnet"
STYLE_VECTORS = "style_vectors"
FEATURE_STATISTICS = "feature_statistics"
# The key and the form under which ComfyUI-GGUF makes the host list these files, wherever diffusion models may lie.
GGUF_MODELS, GGUF = "unet_gguf", ".gguf"
MODEL_FOLDERS = ("checkpoints", "diffusion_models", "diffusers")
UNFINISHED = "styledelta_unfinished"


def register_model_folders() -> None:
    """Make models/<kind> and output/<kind> known, so that what a node saves can be chosen after a refresh."""
    for kind in (STYLE_NETWORKS, STYLE_VECTORS, FEATURE_STATISTICS):
        for root in (folder_paths.models_dir, folder_paths.get_output_directory()):
            folder_paths.add_model_folder_path(kind, os.path.join(root, kind))
        folder_paths.folder_names_and_paths[kind][1].update({".safetensors", ".pth"})
    folder_paths.folder_names_and_paths[STYLE_NETWORKS][1].update({".pt", ".model", ".onnx"})
    if GGUF_MODELS not in folder_paths.folder_names_and_paths:
        # The list itself, so that folders that are added to it later count.
        folder_paths.folder_names_and_paths[GGUF_MODELS] = (
            folder_paths.folder_names_and_paths[MODEL_FOLDERS[1]][0],
            {GGUF},
        )
    # The host knows this folder among the models only.
    folder_paths.add_model_folder_path(CONTROL_NETS, os.path.join(folder_paths.get_output_directory(), CONTROL_NETS))


def file_names(kind: str) -> list[str]:
    """The names of the files of a kind, for a combo."""
    return folder_paths.get_filename_list(kind)


def file_path(kind: str, name: str) -> str:
    """The path of a named file, whichever way its folders are separated. Raises FileNotFoundError with the remedy."""
    path = folder_paths.get_full_path(kind, name.replace("\\", "/"))
    if path is None:
        raise FileNotFoundError(
            f"{name} is not in {places(kind)}. Put the file there and refresh, or choose another one."
        )
    return path


def has_file(kind: str, name: str) -> bool:
    """Whether a named file is there, whichever way its folders are separated."""
    return folder_paths.get_full_path(kind, name.replace("\\", "/")) is not None


def places(kind: str) -> str:
    """The folders of a kind, for errors."""
    return ", ".join(folder_paths.get_folder_paths(kind))


def stamp_of(path: str) -> str:
    """Changes when a file or folder does, also where its size and the time of its last writing are kept. Raises OSError."""
    status = os.stat(path)
    return ":".join(map(str, (status.st_ino, status.st_ctime_ns, status.st_mtime_ns, status.st_size)))


def file_stamp(kind: str, name: str) -> str:
    """Changes when the file does, so that the host runs a node again. Empty for a file that is not there."""
    path = folder_paths.get_full_path(kind, name.replace("\\", "/"))
    if path is None:
        return ""
    return f"{path}:{stamp_of(path)}"


def output_path(prefix: str) -> str:
    """A new path for a safetensors file in the output folder. The host refuses prefixes that lead out of it."""
    folder, name, counter, _, _ = folder_paths.get_save_image_path(prefix, folder_paths.get_output_directory())
    return os.path.join(folder, f"{name}_{counter:05}_.safetensors")


def model_names() -> list[str]:
    """The names of the model files that can be read weight by weight, and of diffusers folders, each behind its folder."""
    names = single_model_names()
    names += [f"{MODEL_FOLDERS[1]}/{name}" for name in file_names(GGUF_MODELS)]
    for root in folder_paths.get_folder_paths(MODEL_FOLDERS[2]):
        if os.path.isdir(root):
            names += [f"{MODEL_FOLDERS[2]}/{entry.name}" for entry in os.scandir(root) if entry.is_dir()]
    return names


def single_model_names() -> list[str]:
    """As `model_names`, safetensors files alone."""
    names = [f"{folder}/{name}" for folder in MODEL_FOLDERS[:2] for name in file_names(folder)]
    return [name for name in names if name.endswith((".safetensors", ".sft"))]


def model_path(name: str) -> str:
    """The path of a model by the name that `model_names` gives. Raises FileNotFoundError with the remedy."""
    folder, _, name = name.replace("\\", "/").partition("/")
    if folder not in MODEL_FOLDERS:
        raise FileNotFoundError(
            f"{folder}/{name} is in none of {', '.join(MODEL_FOLDERS)}. Choose a model from the list."
        )
    if folder != MODEL_FOLDERS[2]:
        return file_path(folder, name)
    roots = folder_paths.get_folder_paths(folder)
    paths = [os.path.join(root, name) for root in roots if name in os.listdir(root)]
    if not paths:
        raise FileNotFoundError(
            f"{name} is not in {', '.join(roots)}. Put the folder there and refresh, or choose another."
        )
    return paths[0]


def model_stamp(name: str) -> str:
    """Changes when the model's file or folder does. Empty for one that is not there."""
    try:
        return f"{name}:{stamp_of(model_path(name))}"
    except OSError:
        return ""


def unfinished_folder() -> str:
    """Where long extractions keep what they have finished."""
    return os.path.join(folder_paths.get_user_directory(), UNFINISHED)
