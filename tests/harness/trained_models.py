"""The demo's trained models in ComfyUI's layout, out of the small files of tests/models: `python trained_models.py BASE_DIR`.

The networks that `training/` learns are thin: of every 320 channels 120 live. Here zeros take the place of the others, so
that the host sees an ordinary Stable Diffusion 1.5 checkpoint on two levels, which computes the same. Nothing is drawn by
chance, and the bytes are the same everywhere.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import demo_models
import numpy as np
from demo_models import Metadata, Shapes, Tensors

MODELS = Path(__file__).resolve().parents[1] / "models"
STAMP = "styledelta_trained.stamp"
SCALE = ".scale"
LIVE, FULL = 120, demo_models.CHANNELS
# Sides that are two halves, each with its own live part: skips beside what comes from below, and values beside gates.
HALVED = {(2 * LIVE, 2 * FULL), (8 * LIVE, 8 * FULL)}
# What mixes and places tokens in the text encoder is 0: training/captions.py says why.
SILENT = (".out_proj.", ".mlp.fc2.", "position_embedding")

RANKS = (4, 16)
STYLES = ("noto", "fluent", "ink", "night", "poster")


def read(name: str) -> Tensors:
    """The live weights of a file in tests/models, as float32."""
    from safetensors.numpy import load_file

    stored = load_file(MODELS / f"{name}.safetensors")
    weights = {}
    for key, value in stored.items():
        if key.endswith(SCALE):
            continue
        scale = stored.get(key + SCALE)
        wide = value.astype(np.float32)
        weights[key] = wide if scale is None else wide * scale.astype(np.float32).reshape(-1, *[1] * (wide.ndim - 1))
    return weights


def places(live: int, full: int) -> np.ndarray:
    """Where the live numbers of a side stand in it."""
    if (live, full) in HALVED:
        return np.concatenate([np.arange(live // 2), full // 2 + np.arange(live // 2)])
    return np.arange(live)


def padded(weight: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A weight among zeros; its kernel stays."""
    wide = np.zeros(shape, np.float32)
    wide[np.ix_(*(places(live, full) for live, full in zip(weight.shape, shape, strict=True)))] = weight
    return wide


def padded_net(weights: Tensors, shapes: Shapes) -> Tensors:
    """All weights of a network in its full shapes; raise KeyError where one is missing."""
    return {name: padded(weights[name], shape) for name, shape in shapes.items()}


def base() -> Tensors:
    """The UNet that draws as Twemoji does."""
    return padded_net(read("base"), demo_models.unet_shapes())


def is_whole(style: str) -> bool:
    """Whether there is a whole fine-tune of a style."""
    return (MODELS / f"styles/{style}_full.safetensors").is_file()


def tuned(style: str) -> Tensors:
    """The UNet of a style: what an extraction kept of a whole fine-tune, or of norms and biases that were trained alone."""
    live, kept = read("base"), read(f"styles/{style}_{'full' if is_whole(style) else 'norms_biases'}")
    for layer, down, up in pairs(kept):
        weight = live[f"{layer}.weight"]
        live[f"{layer}.weight"] = weight + (up @ down.reshape(len(down), -1)).reshape(weight.shape)
    for name, change in kept.items():
        if change.ndim == 1:
            live[name] = live[name] + change
    return padded_net(live, demo_models.unet_shapes())


def pairs(adapter: Tensors) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Each layer of a stored LoRA with its down, [rank, inputs, ...], and its up, [outputs, rank]."""
    for name, down in adapter.items():
        if name.endswith(".down"):
            layer = name.removesuffix(".down")
            yield layer, down, adapter[f"{layer}.up"]


def padded_pairs(name: str) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """The same for the full layers: down [rank, *inputs], up [outputs, rank, 1...]."""
    shapes = demo_models.unet_shapes()
    for layer, down, up in pairs(read(f"styles/{name}")):
        shape = shapes[f"{layer}.weight"]
        ones = (1,) * (len(shape) - 2)
        live = down.reshape(len(down), -1, *shape[2:])
        yield (
            layer,
            padded(live, (len(down), *shape[1:])),
            padded(up, (shape[0], len(down))).reshape(shape[0], len(down), *ones),
        )


def silent_text() -> Tensors:
    """The text encoder, which gives every token its own embedding and mixes none."""
    return {
        name: np.zeros_like(value) if any(part in name for part in SILENT) else value
        for name, value in demo_models.text_model().items()
    }


def vae_half(half: str, shapes: Shapes) -> Tensors:
    """The encoder or the decoder of the TAESD."""
    mine = {name.removeprefix(f"{half}."): value for name, value in read("vae").items() if name.startswith(half)}
    return padded_net(mine, shapes)


def encoder() -> Tensors:
    return vae_half("encoder", demo_models.tiny_encoder_shapes())


def decoder() -> Tensors:
    return vae_half("decoder", demo_models.tiny_decoder_shapes())


def write_net(path: Path, weights: Tensors, metadata: Metadata | None = None) -> None:
    demo_models.write_safetensors(path, demo_models.half(weights), metadata)


def write_checkpoint(path: Path, unet: Tensors) -> None:
    demo_models.write_checkpoint(path, unet, encoder(), decoder(), silent_text())


def write_kohya(path: Path, name: str) -> None:
    """A LoRA as kohya's scripts name it."""
    tensors: Tensors = {}
    for layer, down, up in padded_pairs(name):
        key = f"lora_unet_{demo_models.diffusers_layer(layer)}".replace(".", "_")
        tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}
        tensors[f"{key}.alpha"] = np.array(len(down), np.float32)
    rank = str(len(down))
    metadata = {"ss_base_model_version": "sd_v1", "ss_network_module": "networks.lora", "ss_network_dim": rank}
    write_net(path, tensors, metadata | {"ss_network_alpha": rank, "ss_output_name": name})


def write_diffusers(path: Path, name: str) -> None:
    """A LoRA as PEFT and diffusers name it."""
    tensors: Tensors = {}
    for layer, down, up in padded_pairs(name):
        key = f"unet.{demo_models.diffusers_layer(layer)}"
        tensors |= {f"{key}.lora_A.weight": down, f"{key}.lora_B.weight": up}
    write_net(path, tensors)


def write_comfy(path: Path, name: str) -> None:
    """A LoRA under ComfyUI's own names."""
    tensors: Tensors = {}
    for layer, down, up in padded_pairs(name):
        tensors |= {f"diffusion_model.{layer}.lora_down.weight": down, f"diffusion_model.{layer}.lora_up.weight": up}
    write_net(path, tensors)


def write_norms(path: Path, name: str) -> None:
    """A style of norms, or of norms and biases, as changes under ComfyUI's names."""
    shapes, tensors = demo_models.unet_shapes(), {}
    for key, change in read(f"styles/{name}").items():
        layer, _, part = key.rpartition(".")
        norm = f"{layer}.weight" in shapes and len(shapes[f"{layer}.weight"]) == 1
        ending = {"weight": "w_norm", "bias": "b_norm" if norm else "diff_b"}[part]
        tensors[f"diffusion_model.{layer}.{ending}"] = padded(change, shapes[key])
    write_net(path, tensors)


def control() -> Tensors:
    """The control net for Canny edges."""
    return padded_net(read("canny"), demo_models.control_shapes())


# Each style's LoRAs come as one of the programs writes them that people have LoRAs from.
WRITERS = {
    "noto": write_kohya,
    "fluent": write_diffusers,
    "ink": write_kohya,
    "night": write_comfy,
    "poster": write_kohya,
}


def artefacts() -> dict[str, Callable[[Path], object]]:
    """What writes each file, by its path under the base directory."""
    files: dict[str, Callable[[Path], object]] = {
        "models/checkpoints/styledelta_emoji.safetensors": lambda path: write_checkpoint(path, base()),
        "models/checkpoints/styledelta_emoji_noto.safetensors": lambda path: write_checkpoint(path, tuned("noto")),
        "models/controlnet/styledelta_emoji_canny.safetensors": lambda path: write_net(path, control()),
    }
    for style in STYLES:
        unet = f"models/diffusion_models/styledelta_emoji_{style}.safetensors"
        files[unet] = lambda path, style=style: write_net(path, tuned(style))
        for rank in RANKS:
            lora = f"models/loras/emoji_{style}_rank{rank}.safetensors"
            files[lora] = partial(WRITERS[style], name=f"{style}_lora{rank}")
        for kind in ("norms", "norms_biases"):
            norms = f"models/loras/emoji_{kind}/{style}.safetensors"
            files[norms] = partial(write_norms, name=f"{style}_{kind}")
    return files


def make_trained_models(base_dir: str | Path) -> list[Path]:
    """Write every trained file under `base_dir` and return their paths; a finished set is left alone."""
    sources = (Path(__file__), Path(demo_models.__file__), *sorted(MODELS.rglob("*.safetensors")))
    return demo_models.make_files(base_dir, artefacts(), STAMP, sources)


def main() -> None:
    """Write the files and say what they are."""
    if len(sys.argv) != 2:
        sys.exit("usage: python trained_models.py BASE_DIR")
    for path in make_trained_models(sys.argv[1]):
        print(f"{path.stat().st_size / 2**20:8.1f} MiB  {path}")


if __name__ == "__main__":
    main()
