"""Write small demo models and pictures for tests and example graphs: `python demo_models.py BASE_DIR`.

The weights are made, not trained. The checkpoint has the true key layout of Stable Diffusion 1.5, on two levels of
320 channels, so a host loads it, samples from it and patches it like a real one in seconds on a CPU. Every tensor is
drawn from a generator seeded by its own name, so every run writes the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path

import demo_drawings
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Shapes = dict[str, tuple[int, ...]]
Tensors = dict[str, np.ndarray]
Metadata = dict[str, str]

SEED = 1906
STAMP = "styledelta_demo.stamp"

CHANNELS = 320
TIME_CHANNELS = 1280
CONTEXT = 768
TEXT_LAYERS = 12
TEXT_HIDDEN = 3072
HINT_CHANNELS = (3, 16, 16, 32, 32, 96, 96, 256, CHANNELS)
CONTROL_GAIN = np.float32(0.06)
# A full hint takes HINT_GAIN from the predicted noise. The mean over 8x8 pixels is full from HINT_FULL on (a line of 1
# pixel has 1/8), and what lies below HINT_MIDDLE of a full hint becomes darker.
HINT_GAIN = 0.3
HINT_FULL = 1 / 6
HINT_MIDDLE = 0.15
HINT_SHARPNESS = 0.4
HINT_SLOPE = 96
COARSE_REMOVED = 0.25
TINY_WIDTH = 64
LATENT_SCALE = 0.18215
LUMA = (0.299, 0.587, 0.114)
LUMA_GAIN = 4.0
COLOUR_GAIN = 5.0
EDGE_GAIN = 10.0

# Gain of a weight over unit variance, by the end of its layer's name; the first match counts, 1 without one.
GAINS = (
    (".to_q", 1.5),
    (".to_k", 1.5),
    (".attn1.to_out.0", 0.5),
    (".ff.net.2", 0.5),
    (".proj_out", 0.7),
    (".out_layers.3", 0.5),
    (".out_proj", 0.5),
    (".mlp.fc2", 0.5),
    (".token_embedding", CONTEXT**0.5),
    (".position_embedding", 0.3 * CONTEXT**0.5),
    ("out.2", 0.06),
)

# The last group of the last GroupNorm carries the noisy latent to the output, each channel of it and its negative.
CARRIED = range(CHANNELS - 10, CHANNELS - 2)
CARRIED_GROUP = slice(CHANNELS - 10, CHANNELS)
CARRIED_RMS = 0.8**0.5
# What a norm style adds to the predicted noise, by channel of the latent.
TINTS = {"ember": (0.25, -0.35, 0.3, 0.2), "ink": (0.35, 0.3, -0.25, 0.1), "moss": (0.1, 0.1, 0.35, -0.3)}
SMOOTH = np.outer([1, 2, 1], [1, 2, 1]).astype(np.float32) / 16
COARSE_KEPT = 0.2


# The UNet's blocks and a ResNet block's layers under their diffusers names; the rest keeps its name.
DIFFUSERS_BLOCKS = {
    "input_blocks.1.0": "down_blocks.0.resnets.0",
    "input_blocks.2.0.op": "down_blocks.0.downsamplers.0.conv",
    "input_blocks.3.0": "down_blocks.1.resnets.0",
    "input_blocks.3.1": "down_blocks.1.attentions.0",
    "middle_block.0": "mid_block.resnets.0",
    "middle_block.1": "mid_block.attentions.0",
    "middle_block.2": "mid_block.resnets.1",
    "output_blocks.0.0": "up_blocks.0.resnets.0",
    "output_blocks.0.1": "up_blocks.0.attentions.0",
    "output_blocks.1.0": "up_blocks.0.resnets.1",
    "output_blocks.1.1": "up_blocks.0.attentions.1",
    "output_blocks.1.2.conv": "up_blocks.0.upsamplers.0.conv",
    "output_blocks.2.0": "up_blocks.1.resnets.0",
    "output_blocks.3.0": "up_blocks.1.resnets.1",
}
DIFFUSERS_PARTS = {
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}

PICTURE = 512
PIGMENTS = {
    "ink": (16, 20, 52),
    "ultramarine": (28, 48, 132),
    "cobalt": (44, 104, 190),
    "turquoise": (92, 184, 196),
    "ochre": (222, 150, 36),
    "lemon": (250, 214, 84),
    "cream": (255, 246, 208),
    "crimson": (166, 38, 48),
    "plum": (74, 28, 78),
    "olive": (110, 132, 44),
    "viridian": (20, 84, 78),
}
# Lights in the sky: x, y, radius. Hills: height at the left, slope, wave length, light and dark pigment.
LIGHTS = ((392, 108, 44), (150, 150, 26), (270, 60, 13), (62, 58, 15), (478, 232, 12), (250, 232, 12))
HILLS = (
    (330, -0.06, 70, "crimson", "plum"),
    (392, 0.05, 95, "ochre", "crimson"),
    (470, -0.11, 60, "olive", "viridian"),
)
# Layers of strokes, from the ground up: how many, how long, how wide, in pixels.
STROKES = ((2200, 60, 9), (4000, 42, 5), (3500, 26, 3))


def make_demo_models(base_dir: str | Path) -> list[Path]:
    """Write every demo file that belongs under `base_dir` and return their paths; a finished set is left alone."""
    return make_files(base_dir, ARTEFACTS, STAMP, (Path(__file__), Path(demo_drawings.__file__)))


def make_files(
    base_dir: str | Path, files: Mapping[str, Callable[[Path], object]], stamp_name: str, sources: Iterable[Path]
) -> list[Path]:
    """Write files, each by its function, under `base_dir` and return their paths; a finished set is left alone.

    A set is finished where its stamp knows the sources as they are now and every file is there.
    """
    base = Path(base_dir)
    stamp, paths = base / stamp_name, [base / name for name in files]
    digest = hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in sources)).hexdigest()
    if stamp.is_file() and stamp.read_text() == digest and all(path.is_file() for path in paths):
        return paths
    for path, write in zip(paths, files.values(), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, write)
    write_whole(stamp, lambda part: part.write_text(digest))
    return paths


def make_pictures(base_dir: str | Path) -> None:
    """Write the pictures alone, those that are not there."""
    for name, write in ARTEFACTS.items():
        path = Path(base_dir) / name
        if name.startswith("input/") and not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, write)


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary neighbour of `path`, then put it in place."""
    part = path.with_name(f"{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        write(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_safetensors(path: Path, tensors: Tensors, metadata: Metadata | None = None) -> None:
    """Write a safetensors file whose bytes depend on the arguments only.

    The safetensors package orders the metadata anew in every process.
    """
    codes = {"float16": "F16", "float32": "F32", "int64": "I64"}
    header: dict[str, object] = {"__metadata__": dict(sorted({"format": "pt", **(metadata or {})}.items()))}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.nbytes
        header[name] = {
            "dtype": codes[tensor.dtype.name],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for tensor in tensors.values():
            file.write(np.ascontiguousarray(tensor).tobytes())


def _normal(name: str, shape: Iterable[int]) -> np.ndarray:
    """Standard normal numbers that belong to `name`."""
    seed = [SEED, zlib.crc32(name.encode())]
    return np.random.default_rng(seed).standard_normal(tuple(shape), dtype=np.float32)


def _gain(name: str) -> float:
    layer = name.removesuffix(".weight")
    return next((gain for end, gain in GAINS if layer.endswith(end)), 1.0)


def _fan_in(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape[1:]))


def initial(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Untrained values of a parameter: norms are 1 and 0, biases 0, weights keep the variance times their gain."""
    if len(shape) == 1:
        return np.full(shape, float(name.endswith(".weight")), np.float32)
    return _normal(name, shape) * np.float32(_gain(name) / _fan_in(shape) ** 0.5)


def half(tensors: Tensors) -> Tensors:
    """Tensors with float16 in place of float32."""
    return {name: value.astype(np.float16) if value.dtype == np.float32 else value for name, value in tensors.items()}


def _linear(name: str, inputs: int, outputs: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (outputs, inputs)} | ({f"{name}.bias": (outputs,)} if bias else {})


def _conv(name: str, inputs: int, outputs: int, size: int = 3, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (outputs, inputs, size, size)} | ({f"{name}.bias": (outputs,)} if bias else {})


def _norm(name: str, channels: int) -> Shapes:
    return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}


def _res_block(name: str, inputs: int) -> Shapes:
    shapes = _norm(f"{name}.in_layers.0", inputs) | _conv(f"{name}.in_layers.2", inputs, CHANNELS)
    shapes |= _linear(f"{name}.emb_layers.1", TIME_CHANNELS, CHANNELS)
    shapes |= _norm(f"{name}.out_layers.0", CHANNELS) | _conv(f"{name}.out_layers.3", CHANNELS, CHANNELS)
    return shapes if inputs == CHANNELS else shapes | _conv(f"{name}.skip_connection", inputs, CHANNELS, 1)


def _transformer(name: str) -> Shapes:
    block = f"{name}.transformer_blocks.0"
    shapes = _norm(f"{name}.norm", CHANNELS) | _conv(f"{name}.proj_in", CHANNELS, CHANNELS, 1)
    for attention, context in (("attn1", CHANNELS), ("attn2", CONTEXT)):
        shapes |= _linear(f"{block}.{attention}.to_q", CHANNELS, CHANNELS, bias=False)
        shapes |= _linear(f"{block}.{attention}.to_k", context, CHANNELS, bias=False)
        shapes |= _linear(f"{block}.{attention}.to_v", context, CHANNELS, bias=False)
        shapes |= _linear(f"{block}.{attention}.to_out.0", CHANNELS, CHANNELS)
    shapes |= _linear(f"{block}.ff.net.0.proj", CHANNELS, 8 * CHANNELS)
    shapes |= _linear(f"{block}.ff.net.2", 4 * CHANNELS, CHANNELS)
    for norm in ("norm1", "norm2", "norm3"):
        shapes |= _norm(f"{block}.{norm}", CHANNELS)
    return shapes | _conv(f"{name}.proj_out", CHANNELS, CHANNELS, 1)


def _encoder_shapes() -> Shapes:
    """The half of the UNet that a ControlNet copies: time embedding, input blocks, middle block."""
    shapes = _linear("time_embed.0", CHANNELS, TIME_CHANNELS) | _linear("time_embed.2", TIME_CHANNELS, TIME_CHANNELS)
    shapes |= _conv("input_blocks.0.0", 4, CHANNELS)
    shapes |= _res_block("input_blocks.1.0", CHANNELS)
    shapes |= _conv("input_blocks.2.0.op", CHANNELS, CHANNELS)
    shapes |= _res_block("input_blocks.3.0", CHANNELS) | _transformer("input_blocks.3.1")
    shapes |= _res_block("middle_block.0", CHANNELS) | _transformer("middle_block.1")
    return shapes | _res_block("middle_block.2", CHANNELS)


def _decoder_shapes() -> Shapes:
    shapes: Shapes = {}
    for index in range(4):
        shapes |= _res_block(f"output_blocks.{index}.0", 2 * CHANNELS)
    shapes |= _transformer("output_blocks.0.1") | _transformer("output_blocks.1.1")
    shapes |= _conv("output_blocks.1.2.conv", CHANNELS, CHANNELS)
    return shapes | _norm("out.0", CHANNELS) | _conv("out.2", CHANNELS, 4)


def unet_shapes() -> Shapes:
    """Every weight of the UNet."""
    return _encoder_shapes() | _decoder_shapes()


def control_shapes() -> Shapes:
    """Every weight of a ControlNet for it."""
    shapes = _encoder_shapes()
    for name in (*(f"zero_convs.{index}.0" for index in range(4)), "middle_block_out.0"):
        shapes |= _conv(name, CHANNELS, CHANNELS, 1)
    for index, (inputs, outputs) in enumerate(pairwise(HINT_CHANNELS)):
        shapes |= _conv(f"input_hint_block.{2 * index}", inputs, outputs)
    return shapes


def _text_shapes() -> Shapes:
    """CLIP-L's text model under its Hugging Face names."""
    shapes: Shapes = {
        "embeddings.token_embedding.weight": (49408, CONTEXT),
        "embeddings.position_embedding.weight": (77, CONTEXT),
    }
    for index in range(TEXT_LAYERS):
        layer = f"encoder.layers.{index}"
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            shapes |= _linear(f"{layer}.self_attn.{part}", CONTEXT, CONTEXT)
        shapes |= _norm(f"{layer}.layer_norm1", CONTEXT) | _norm(f"{layer}.layer_norm2", CONTEXT)
        shapes |= _linear(f"{layer}.mlp.fc1", CONTEXT, TEXT_HIDDEN) | _linear(f"{layer}.mlp.fc2", TEXT_HIDDEN, CONTEXT)
    return shapes | _norm("final_layer_norm", CONTEXT)


def _unet() -> Tensors:
    tensors = {name: initial(name, shape) for name, shape in unet_shapes().items()}
    _carry_latent(tensors)
    return tensors


def _carry_latent(unet: Tensors) -> None:
    """Lead the noisy latent around the random blocks to the output.

    Predicting mostly the input as the noise keeps samples in a latent's usual range at any step count; keeping part
    of the coarse noise leaves smooth shapes. SiLU(x) - SiLU(-x) = x makes the way through the output block exact.
    """
    first, last, out = "input_blocks.0.0.weight", "output_blocks.3.0", "out.2.weight"
    for name in (first, f"{last}.skip_connection.weight", f"{last}.out_layers.3.weight"):
        unet[name][CARRIED_GROUP] = 0
    unet[out][:, CARRIED_GROUP] = 0
    kernel = -COARSE_KEPT * SMOOTH
    kernel[1, 1] += 1
    for place, channel in enumerate(CARRIED):
        latent, sign = place // 2, 1 - 2 * (place % 2)
        unet[first][channel, latent, 1, 1] = sign
        unet[f"{last}.skip_connection.weight"][channel, CHANNELS + channel] = 1
        unet[out][latent, channel] = sign * CARRIED_RMS * kernel


def _tuned_unet() -> Tensors:
    """The UNet after a pretended fine-tune: rank 6 plus a little of everything on matrices, moved norms."""
    tensors = _unet()
    for name, value in tensors.items():
        if _is_norm(name):
            tensors[name] = value + 0.1 * _normal(f"tuned.{name}", value.shape)
        elif value.ndim > 1 and (".transformer_blocks." in name or name.endswith(".in_layers.2.weight")):
            tensors[name] = value + _tuned_delta(name, value.shape)
    return tensors


def _styled_norms(style: str) -> Tensors:
    """The changes of a pretended training of the UNet's norms alone: all move a little, and the last one tints."""
    changes = {
        name: 0.15 * _normal(f"{style}.{name}", value.shape) for name, value in _unet().items() if _is_norm(name)
    }
    for place, channel in enumerate(CARRIED):
        changes["out.0.bias"][channel] = (1 - 2 * (place % 2)) * TINTS[style][place // 2]
    return changes


def _write_styled_unet(path: Path, style: str) -> None:
    changes = _styled_norms(style)
    unet = {name: value + changes[name] if name in changes else value for name, value in _unet().items()}
    write_safetensors(path, half(unet))


def _write_norms(path: Path, style: str) -> None:
    """A norm style under ComfyUI's names, as Extract Norms makes it."""
    endings = {".weight": ".w_norm", ".bias": ".b_norm"}
    renamed = {}
    for name, change in _styled_norms(style).items():
        layer, _, ending = name.rpartition(".")
        renamed[f"diffusion_model.{layer}{endings['.' + ending]}"] = change
    write_safetensors(path, half(renamed))


def _is_norm(name: str) -> bool:
    layer = name.rpartition(".")[0]
    ends = (".norm", ".norm1", ".norm2", ".norm3", ".in_layers.0", ".out_layers.0")
    return layer.endswith(ends) or layer == "out.0"


def _tuned_delta(name: str, shape: tuple[int, ...]) -> np.ndarray:
    rows, columns = shape[0], _fan_in(shape)
    up, down = _factors(f"tuned.{name}", rows, columns, 6, 0.3 * _gain(name))
    dense = _normal(f"tuned.{name}.dense", (rows, columns)) * np.float32(0.01 * _gain(name) / columns**0.5)
    return (up @ down + dense).reshape(shape)


def _factors(name: str, rows: int, columns: int, rank: int, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Factors of a falling spectrum; `size` is the product's norm over that of a unit variance weight."""
    spectrum = np.arange(1, rank + 1, dtype=np.float32) ** -0.7
    spectrum *= size * rows**0.5 / np.linalg.norm(spectrum)
    up = _normal(f"{name}.up", (rows, rank)) * (spectrum / rows) ** 0.5
    down = _normal(f"{name}.down", (rank, columns)) * (spectrum[:, None] / columns) ** 0.5
    return up, down


def write_checkpoint(path: Path, unet: Tensors, encoder: Tensors, decoder: Tensors, text: Tensors) -> None:
    """Write a checkpoint with both halves of a TAESD and CLIP-L's text model."""
    tensors = {f"model.diffusion_model.{name}": value for name, value in unet.items()}
    tensors |= {f"first_stage_model.taesd_encoder.{name}": value for name, value in encoder.items()}
    tensors |= {f"first_stage_model.taesd_decoder.{name}": value for name, value in decoder.items()}
    tensors["first_stage_model.vae_scale"] = np.array(LATENT_SCALE, np.float32)
    tensors["first_stage_model.vae_shift"] = np.array(0, np.float32)
    tensors |= {f"cond_stage_model.transformer.text_model.{name}": value for name, value in text.items()}
    write_safetensors(path, half(tensors))


def _write_untrained(path: Path, unet: Tensors) -> None:
    write_checkpoint(path, unet, _tiny_encoder(), _tiny_decoder(), text_model())


@cache
def text_model() -> Tensors:
    """CLIP-L's text model with seeded weights, as float16."""
    tensors = half({name: initial(f"text.{name}", shape) for name, shape in _text_shapes().items()})
    return tensors | {"embeddings.position_ids": np.arange(77, dtype=np.int64)[None]}


def token_table() -> np.ndarray:
    """What the text encoder knows of each token, float16 [49408, 768]."""
    return text_model()["embeddings.token_embedding.weight"]


def _tiny_shapes(convs: dict[int, tuple[int, int, bool]], blocks: Iterable[int]) -> Shapes:
    """A TAESD half: `convs` are index -> (inputs, outputs, bias), `blocks` the indices of its residual blocks."""
    shapes: Shapes = {}
    for index, (inputs, outputs, bias) in convs.items():
        shapes |= _conv(str(index), inputs, outputs, bias=bias)
    for index in blocks:
        for part in (0, 2, 4):
            shapes |= _conv(f"{index}.conv.{part}", TINY_WIDTH, TINY_WIDTH)
    return shapes


def tiny_encoder_shapes() -> Shapes:
    """Every weight of a TAESD's encoder."""
    resize = (TINY_WIDTH, TINY_WIDTH, False)
    convs = {0: (3, TINY_WIDTH, True), 2: resize, 6: resize, 10: resize, 14: (TINY_WIDTH, 4, True)}
    return _tiny_shapes(convs, (1, 3, 4, 5, 7, 8, 9, 11, 12, 13))


def tiny_decoder_shapes() -> Shapes:
    """Every weight of a TAESD's decoder."""
    resize = (TINY_WIDTH, TINY_WIDTH, False)
    convs = {1: (4, TINY_WIDTH, True), 7: resize, 12: resize, 17: resize, 19: (TINY_WIDTH, 3, True)}
    return _tiny_shapes(convs, (3, 4, 5, 8, 9, 10, 13, 14, 15, 18))


def _zeros(shapes: Shapes) -> Tensors:
    return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}


def _tiny_encoder() -> Tensors:
    """A hand-set TAESD encoder: means over 8x8 pixels of luminance, two colour differences, and edge strength.

    Its residual blocks add nothing, so they only clip at 0; all that passes them is kept positive.
    """
    net = _zeros(tiny_encoder_shapes())
    luma = np.array(LUMA, np.float32)
    for channel in range(3):
        net["0.weight"][channel, channel, 1, 1] = 1
    for channel, (sign, y, x) in enumerate(((1, 1, 2), (-1, 1, 2), (1, 2, 1), (-1, 2, 1)), start=3):
        net["0.weight"][channel, :, y, x] = sign * luma
        net["0.weight"][channel, :, 1, 1] = -sign * luma
    for index in (2, 6, 10):
        net[f"{index}.weight"][range(7), range(7), 1:, 1:] = 0.25
    to_latent = net["14.weight"][:, :, 1, 1]
    to_latent[:, :3] = _latent_of_colours()
    to_latent[3, 3:7] = EDGE_GAIN
    net["14.bias"][0] = -LUMA_GAIN / 2
    net["14.bias"][3] = -0.5
    return net


def _latent_of_colours() -> np.ndarray:
    """What red, green and blue add to each channel of a latent."""
    luma = np.array(LUMA, np.float32)
    red, _, blue = np.eye(3, dtype=np.float32)
    return np.stack([LUMA_GAIN * luma, COLOUR_GAIN * (blue - luma), COLOUR_GAIN * (red - luma), 0 * luma])


def _tiny_decoder() -> Tensors:
    """The inverse of `_tiny_encoder`, smoothed after each doubling; each latent travels with its negative."""
    net = _zeros(tiny_decoder_shapes())
    for index in (7, 12, 17):
        net[f"{index}.weight"][range(8), range(8)] = SMOOTH
    red, green, blue = np.eye(3, dtype=np.float32)
    rgb = (
        np.ones(3) / LUMA_GAIN,
        (blue - green * LUMA[2] / LUMA[1]) / COLOUR_GAIN,
        (red - green * LUMA[0] / LUMA[1]) / COLOUR_GAIN,
        np.full(3, 0.03),
    )
    for latent in range(4):
        for channel, sign in ((2 * latent, 1), (2 * latent + 1, -1)):
            net["1.weight"][channel, latent, 1, 1] = sign
            net["19.weight"][:, channel, 1, 1] = sign * rgb[latent]
    net["19.bias"][:] = 0.5
    return net


def _write_tiny(path: Path, weights: Tensors) -> None:
    write_safetensors(path, half(weights))


def _write_controlnet(path: Path) -> None:
    """A copied encoder that learnt a little, with the layers of its own that lead the hint in and the control out."""
    encoder = _encoder_shapes()
    tensors = {name: value for name, value in _unet().items() if name in encoder}
    for name, value in tensors.items():
        if value.ndim > 1 and name != "input_blocks.0.0.weight":
            tensors[name] = value + _tuned_delta(f"controlnet.{name}", value.shape)
    for name in (*(f"zero_convs.{index}.0" for index in range(4)), "middle_block_out.0"):
        for key, shape in _conv(name, CHANNELS, CHANNELS, 1).items():
            tensors[key] = CONTROL_GAIN * initial(key, shape)
    tensors |= _hint_block()
    _carry_hint(tensors)
    write_safetensors(path, half(tensors))


def _hint_block() -> Tensors:
    """Hand-set layers that lead the hint's red, green and blue, each the mean over 8x8 pixels, into the carried channels.

    Each colour travels with its negative, as SiLU(x) - SiLU(-x) = x. Before the last layer SiLU is steep, so that the
    difference of two of them rises from 0 at black to HINT_SLOPE * HINT_FULL at a full hint and stays there.
    """
    shapes: Shapes = {}
    for index, (inputs, outputs) in enumerate(pairwise(HINT_CHANNELS)):
        shapes |= _conv(str(2 * index), inputs, outputs)
    net = _zeros(shapes)
    colours = np.eye(3, dtype=np.float32)
    net["0.weight"][:6, :, 1, 1] = np.concatenate([colours, -colours])
    pairs = np.block([[colours, -colours], [-colours, colours]])
    for index in (2, 6, 10):
        net[f"{index}.weight"][:6, :6, 1, 1] = pairs
    for index in (4, 8):
        net[f"{index}.weight"][:6, :6, 1:, 1:] = 0.25 * pairs[..., None, None]
    net["12.weight"][:6, :6, 1:, 1:] = 0.25 * HINT_SLOPE * np.tile(pairs[:3], (2, 1))[..., None, None]
    net["12.bias"][3:6] = -HINT_SLOPE * HINT_FULL
    # Less predicted noise makes a picture lighter or more coloured.
    to_latent = -HINT_GAIN * _latent_of_colours()
    kernel = -HINT_SHARPNESS * SMOOTH
    kernel[1, 1] += 1
    for place, channel in enumerate(CARRIED):
        colour = (1 - 2 * (place % 2)) * to_latent[place // 2]
        both = np.concatenate([colour, -colour]) / (HINT_SLOPE * HINT_FULL)
        net["14.weight"][channel, :6] = both[:, None, None] * kernel
        net["14.bias"][channel] = -HINT_MIDDLE * colour.sum()
    return {f"input_hint_block.{name}": value for name, value in net.items()}


def _carry_hint(controlnet: Tensors) -> None:
    """Lead the hint to the UNet's skip that carries the latent to the output.

    Of the latent itself only a part of its coarse noise goes the same way, which the UNet then removes better.
    """
    first, out = controlnet["input_blocks.0.0.weight"], controlnet["zero_convs.0.0.weight"]
    first[CARRIED_GROUP] = COARSE_REMOVED * first[CARRIED_GROUP, :, 1:2, 1:2] * SMOOTH
    out[CARRIED_GROUP] = 0
    out[CARRIED, CARRIED] = 1


def diffusers_layer(layer: str) -> str | None:
    """The diffusers name of a layer of the UNet, or None for one that belongs to no block."""
    block = next((block for block in DIFFUSERS_BLOCKS if f"{layer}.".startswith(f"{block}.")), None)
    if block is None:
        return None
    inner = layer.removeprefix(block).removeprefix(".")
    return f"{DIFFUSERS_BLOCKS[block]}.{DIFFUSERS_PARTS.get(inner, inner)}".removesuffix(".")


def _unet_layers() -> Shapes:
    """The UNet's layers that a LoRA can change, under their diffusers names, with the shapes of their weights."""
    matrices = {name.removesuffix(".weight"): shape for name, shape in unet_shapes().items() if len(shape) > 1}
    named = ((diffusers_layer(layer), shape) for layer, shape in matrices.items())
    return {layer: shape for layer, shape in named if layer is not None}


def _text_layers() -> Shapes:
    return {
        f"text_model.{name.removesuffix('.weight')}": shape
        for name, shape in _text_shapes().items()
        if name.startswith("encoder.") and len(shape) == 2
    }


def _adapter(name: str, shape: tuple[int, ...], rank: int, size: float) -> tuple[np.ndarray, np.ndarray]:
    """A LoRA's up and down for a weight of this shape, convolutions included."""
    up, down = _factors(name, shape[0], _fan_in(shape), rank, size * _gain(name))
    return up.reshape(shape[0], rank, *(1,) * (len(shape) - 2)), down.reshape(rank, *shape[1:])


def _kohya_adapter(name: str, shape: tuple[int, ...], rank: int, alpha: float, size: float) -> Tensors:
    up, down = _adapter(name, shape, rank, size * rank / alpha)
    key = name.replace(".", "_")
    return {
        f"{key}.lora_down.weight": down,
        f"{key}.lora_up.weight": up,
        f"{key}.alpha": np.array(alpha, np.float32),
    }


def _write_kohya(path: Path) -> None:
    tensors: Tensors = {}
    for name, shape in _text_layers().items():
        tensors |= _kohya_adapter(f"lora_te.{name}", shape, 8, 4, 0.2)
    for name, shape in _unet_layers().items():
        if ".attentions." in name:
            tensors |= _kohya_adapter(f"lora_unet.{name}", shape, 8, 4, 0.4)
    metadata = _trainer_metadata("StyleDelta demo: brush strokes", "networks.lora", 8, 4, {})
    write_safetensors(path, half(tensors), metadata)


def _write_diffusers(path: Path) -> None:
    """PEFT names; of the attention blocks only the layers that ComfyUI knows under those names."""
    targets = ("proj_in", "proj_out", "ff.net.0.proj", "ff.net.2")
    layers = {f"unet.{name}": shape for name, shape in _unet_layers().items() if name.endswith(targets)}
    layers |= {
        f"text_encoder.{name}": shape
        for name, shape in _text_layers().items()
        if name.endswith(("q_proj", "k_proj", "v_proj", "out_proj"))
    }
    tensors: Tensors = {}
    for name, shape in layers.items():
        up, down = _adapter(f"diffusers.{name}", shape, 4, 0.4)
        tensors |= {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
    config = {"unet.r": 4, "unet.lora_alpha": 4, "unet.target_modules": targets}
    config |= {"text_encoder.r": 4, "text_encoder.lora_alpha": 4}
    write_safetensors(path, half(tensors), {"lora_adapter_metadata": json.dumps(config, sort_keys=True)})


def _write_locon(path: Path) -> None:
    tensors: Tensors = {}
    for name, shape in _unet_layers().items():
        if ".attentions." in name:
            rank, alpha = 16, 8
        elif shape[2:] == (3, 3):
            rank, alpha = 4, 1
        else:
            rank, alpha = 8, 8
        tensors |= _kohya_adapter(f"lora_unet.{name}", shape, rank, alpha, 0.06)
    conv = {"algo": "locon", "conv_dim": "4", "conv_alpha": "1"}
    metadata = _trainer_metadata("StyleDelta demo: convolutions", "lycoris.kohya", 16, 8, conv)
    write_safetensors(path, half(tensors), metadata)


def _write_other_architecture(path: Path) -> None:
    """Names and shapes of two Flux blocks, which no Stable Diffusion model has."""
    layers = {
        "double_blocks.0.img_attn.qkv": (9216, 3072),
        "double_blocks.0.txt_attn.proj": (3072, 3072),
        "single_blocks.0.linear1": (21504, 3072),
        "single_blocks.0.linear2": (3072, 15360),
    }
    tensors: Tensors = {}
    for name, shape in layers.items():
        tensors |= _kohya_adapter(f"lora_unet.{name}", shape, 2, 2, 0.2)
    metadata = _trainer_metadata("StyleDelta demo: another architecture", "networks.lora_flux", 2, 2, {})
    metadata |= {"ss_base_model_version": "flux1", "modelspec.architecture": "flux-1-dev/lora"}
    write_safetensors(path, half(tensors), metadata)


def _trainer_metadata(title: str, module: str, rank: int, alpha: float, arguments: dict[str, str]) -> Metadata:
    """What kohya's trainer writes into a LoRA file, as far as other programs read it."""
    tags = {"10_demo style": {"demo style": 20, "swirling brush strokes": 17, "bold colours": 11, "night sky": 4}}
    return {
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
        "modelspec.prediction_type": "epsilon",
        "modelspec.resolution": "512x512",
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.title": title,
        "modelspec.trigger_phrase": "demo style",
        "ss_base_model_version": "sd_v1",
        "ss_network_alpha": str(float(alpha)),
        "ss_network_args": json.dumps(arguments, sort_keys=True),
        "ss_network_dim": str(rank),
        "ss_network_module": module,
        "ss_num_train_images": "20",
        "ss_output_name": title.lower().replace(" ", "_").replace(":", ""),
        "ss_sd_model_name": "styledelta_demo_sd15.safetensors",
        "ss_tag_frequency": json.dumps(tags, sort_keys=True),
    }


def _write_photo(path: Path, name: str) -> None:
    """A photograph that scikit-image carries in its wheel."""
    from skimage import data

    Image.fromarray(getattr(data, name)()).save(path)


def _smooth_noise(name: str, scale: float) -> np.ndarray:
    """Periodic noise of PICTURE x PICTURE with unit variance and features about `scale` pixels wide."""
    frequency = np.fft.fftfreq(PICTURE)
    envelope = np.exp(-((np.pi * scale) ** 2) * (frequency[:, None] ** 2 + frequency[None] ** 2))
    noise = np.fft.ifft2(np.fft.fft2(_normal(name, (PICTURE, PICTURE))) * envelope).real
    return noise / noise.std()


def _write_painting(path: Path) -> None:
    """A night sky over hills, in several thousand curved strokes that follow one flow field."""
    colours, angles = _painting_fields()
    numbers = np.random.default_rng([SEED, zlib.crc32(b"painting")])
    ground = Image.fromarray(colours.astype(np.uint8))
    picture = ground.resize((2 * PICTURE, 2 * PICTURE), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for count, length, width in STROKES:
        starts = numbers.random((count, 2)) * PICTURE
        for stroke in _follow(angles, starts, length):
            _draw_stroke(draw, stroke, colours, width, numbers)
    picture.resize((PICTURE, PICTURE), Image.Resampling.LANCZOS).save(path)


def _write_small_painting(path: Path) -> None:
    """The painting in the size of the pictures that the trained models know."""
    _write_painting(path)
    Image.open(path).resize((demo_drawings.SIZE,) * 2, Image.Resampling.LANCZOS).save(path)


def _painting_fields() -> tuple[np.ndarray, np.ndarray]:
    """The colour and the stroke direction wanted at every pixel."""
    y, x = np.mgrid[:PICTURE, :PICTURE].astype(np.float64)
    colours, angles = _sky(x, y)
    for height, slope, wave, light, dark in HILLS:
        ridge = height + slope * x + 16 * np.sin(x / wave) + 6 * _smooth_noise(light, 60)[0]
        mix = (0.5 + 0.5 * np.sin((y - ridge) / 9 + 1.3 * _smooth_noise(dark, 40)))[..., None]
        below = y > ridge
        colours = np.where(below[..., None], mix * PIGMENTS[light] + (1 - mix) * PIGMENTS[dark], colours)
        direction = np.arctan(slope + 16 / wave * np.cos(x / wave)) + 0.25 * _smooth_noise(dark, 50)
        angles = np.where(below, direction, angles)
    return colours, angles


def _sky(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bands of blue that wind round the lights, and the direction of the wind."""
    flow_x, flow_y = np.ones_like(x), 0.35 * _smooth_noise("wind", 90)
    bands = y / 26 + 1.2 * _smooth_noise("bands", 70)
    glow = np.zeros_like(x)
    for centre_x, centre_y, radius in LIGHTS:
        distance = np.hypot(x - centre_x, y - centre_y)
        pull = 4 * np.exp(-((distance / (2.2 * radius)) ** 2))
        flow_x -= pull * (y - centre_y) / (distance + 1)
        flow_y += pull * (x - centre_x) / (distance + 1)
        bands += pull * distance / 9
        glow = np.maximum(glow, np.clip(1.5 - distance / radius, 0, 1) * (0.75 + 0.25 * np.cos(distance / 4.5)))
    stops = np.array([PIGMENTS[name] for name in ("ink", "ultramarine", "cobalt", "turquoise", "cobalt")])
    place = (0.5 + 0.5 * np.sin(bands)) * (len(stops) - 1)
    sky = np.stack([np.interp(place, range(len(stops)), stops[:, channel]) for channel in range(3)], axis=-1)
    warm = np.array([PIGMENTS[name] for name in ("turquoise", "ochre", "lemon", "cream")])
    light = np.stack([np.interp(3 * glow, range(4), warm[:, channel]) for channel in range(3)], axis=-1)
    cover = np.clip(2.5 * glow, 0, 1)[..., None]
    return (1 - cover) * sky + cover * light, np.arctan2(flow_y, flow_x)


def _follow(angles: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    """Strokes that go both ways from their starts along the flow: stroke x point x (x, y), 3 pixels apart."""
    halves = []
    for step in (-3.0, 3.0):
        points = [starts]
        for _ in range(length // 6):
            x, y = np.clip(points[-1].astype(int), 0, PICTURE - 1).T
            angle = angles[y, x]
            points.append(points[-1] + step * np.stack([np.cos(angle), np.sin(angle)], axis=1))
        halves.append(points)
    return np.stack([*reversed(halves[0]), *halves[1][1:]], axis=1)


def _draw_stroke(
    draw: ImageDraw.ImageDraw,
    stroke: np.ndarray,
    colours: np.ndarray,
    width: int,
    numbers: np.random.Generator,
) -> None:
    """One stroke as a bundle of bristles, each a little lighter or darker than the next."""
    x, y = np.clip(stroke[len(stroke) // 2].astype(int), 0, PICTURE - 1)
    colour = colours[y, x] + numbers.normal(0, 10, 3)
    along = stroke[2:] - stroke[:-2]
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-6)
    places = np.linspace(-0.5, 0.5, width)
    lines = 2 * (stroke[1:-1] + width * places[:, None, None] * across)
    inks = colour * (1 + 0.12 * numbers.normal(size=(width, 1))) + 14 * places[:, None]
    ends = numbers.integers(0, 3, (width, 2))
    for line, ink, (head, tail) in zip(lines, np.clip(inks, 0, 255).astype(int).tolist(), ends, strict=True):
        draw.line(line[head : len(line) - tail].ravel().tolist(), fill=tuple(ink), width=3)


def _write_left_mask(path: Path) -> None:
    ramp = np.clip((PICTURE / 2 + 16 - np.arange(PICTURE) - 0.5) / 32, 0, 1)
    row = np.round(255 * ramp).astype(np.uint8)
    Image.fromarray(np.broadcast_to(row, (PICTURE, PICTURE)).copy()).convert("RGB").save(path)


def _write_portrait_mask(path: Path) -> None:
    """A soft ellipse round the face and the upper body of the astronaut."""
    mask = Image.new("L", (PICTURE, PICTURE))
    ImageDraw.Draw(mask).ellipse((60, 10, 360, 540), fill=255)
    mask.filter(ImageFilter.GaussianBlur(14)).convert("RGB").save(path)


def _photo(name: str) -> Callable[[Path], None]:
    return lambda path: _write_photo(path, name)


ARTEFACTS: dict[str, Callable[[Path], None]] = {
    "models/checkpoints/styledelta_demo_sd15.safetensors": lambda path: _write_untrained(path, _unet()),
    "models/checkpoints/styledelta_demo_sd15_tuned.safetensors": lambda path: _write_untrained(path, _tuned_unet()),
    "models/vae_approx/taesd_encoder.safetensors": lambda path: _write_tiny(path, _tiny_encoder()),
    "models/vae_approx/taesd_decoder.safetensors": lambda path: _write_tiny(path, _tiny_decoder()),
    "models/loras/styledelta_demo_kohya.safetensors": _write_kohya,
    "models/loras/styledelta_demo_diffusers.safetensors": _write_diffusers,
    "models/loras/styledelta_demo_locon.safetensors": _write_locon,
    "models/loras/styledelta_demo_other_architecture.safetensors": _write_other_architecture,
    "models/loras/styledelta_demo_norms.safetensors": lambda path: _write_norms(path, "ember"),
    "models/loras/styledelta_demo_styles/ember.safetensors": lambda path: _write_norms(path, "ember"),
    "models/loras/styledelta_demo_styles/ink.safetensors": lambda path: _write_norms(path, "ink"),
    "models/loras/styledelta_demo_styles/moss.safetensors": lambda path: _write_norms(path, "moss"),
    "models/diffusion_models/styledelta_demo_ink.safetensors": lambda path: _write_styled_unet(path, "ink"),
    "models/diffusion_models/styledelta_demo_moss.safetensors": lambda path: _write_styled_unet(path, "moss"),
    "models/controlnet/styledelta_demo_controlnet.safetensors": _write_controlnet,
    "input/astronaut.png": _photo("astronaut"),
    "input/coffee.png": _photo("coffee"),
    "input/chelsea.png": _photo("chelsea"),
    "input/rocket.png": _photo("rocket"),
    "input/painting.png": _write_painting,
    "input/painting_small.png": _write_small_painting,
    "input/mask_left.png": _write_left_mask,
    "input/portrait_mask.png": _write_portrait_mask,
    **demo_drawings.DRAWINGS,
}


def main() -> None:
    """Write the files and say what they are."""
    if len(sys.argv) != 2:
        sys.exit("usage: python demo_models.py BASE_DIR")
    for path in make_demo_models(sys.argv[1]):
        print(f"{path.stat().st_size / 2**20:8.1f} MiB  {path}")


if __name__ == "__main__":
    main()
