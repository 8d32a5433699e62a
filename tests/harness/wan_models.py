"""Stand-ins for what a workflow of Wan 2.2 loads, in its layouts and small: `python wan_models.py BASE_DIR`.

Two diffusion models of two blocks, one for high noise and one for low noise, a pair of LoRAs for them and the half of a VAE
that decodes, all with weights drawn by name: their pictures are patterns. Wan's own text encoder is of one size, 11 GB; its
place takes CLIP-L's, which ComfyUI widens to the same 4096 numbers a token where it is loaded as one for SD3.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import demo_models
import numpy as np
from demo_models import Shapes, Tensors

STAMP = "styledelta_wan.stamp"
# One head; ComfyUI takes the width for heads of 128.
WIDTH, FEED_FORWARD, BLOCKS = 128, 256, 2
TEXT, TIME, CHANNELS, PATCH = 4096, 256, 16, 4
VAE_WIDTHS = (32, 32, 16, 8)
RANK = 8
ATTENTIONS = ("self_attn", "cross_attn")
# The last steps of a block, of the model and of the VAE: what they add stays small.
SMALL = (".o.weight", ".ffn.2.weight", ".residual.6.weight", "modulation")
SMALL_GAIN = np.float32(0.2)


def linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def diffusion_shapes() -> Shapes:
    """The weights of a text-to-video model."""
    shapes: Shapes = {"patch_embedding.weight": (WIDTH, CHANNELS, 1, 2, 2), "patch_embedding.bias": (WIDTH,)}
    for part, inputs in (("text_embedding", TEXT), ("time_embedding", TIME)):
        shapes |= linear(f"{part}.0", inputs, WIDTH) | linear(f"{part}.2", WIDTH, WIDTH)
    shapes |= linear("time_projection.1", WIDTH, 6 * WIDTH)
    for name in (f"blocks.{number}" for number in range(BLOCKS)):
        shapes |= {
            f"{name}.modulation": (1, 6, WIDTH),
            f"{name}.norm3.weight": (WIDTH,),
            f"{name}.norm3.bias": (WIDTH,),
        }
        for attention in ATTENTIONS:
            for part in "qkvo":
                shapes |= linear(f"{name}.{attention}.{part}", WIDTH, WIDTH)
            shapes |= {f"{name}.{attention}.norm_{part}.weight": (WIDTH,) for part in "qk"}
        shapes |= linear(f"{name}.ffn.0", WIDTH, FEED_FORWARD) | linear(f"{name}.ffn.2", FEED_FORWARD, WIDTH)
    return shapes | {"head.modulation": (1, 2, WIDTH)} | linear("head.head", WIDTH, PATCH * CHANNELS)


def conv(name: str, inputs: int, outputs: int, *kernel: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs, *kernel), f"{name}.bias": (outputs,)}


def residual(name: str, inputs: int, outputs: int) -> Shapes:
    shapes = {f"{name}.residual.0.gamma": (inputs, 1, 1, 1), f"{name}.residual.3.gamma": (outputs, 1, 1, 1)}
    shapes |= conv(f"{name}.residual.2", inputs, outputs, 3, 3, 3) | conv(
        f"{name}.residual.6", outputs, outputs, 3, 3, 3
    )
    return shapes | (conv(f"{name}.shortcut", inputs, outputs, 1, 1, 1) if inputs != outputs else {})


def decoder_shapes() -> Shapes:
    """The decoder of the VAE of Wan 2.1, which the large models of 2.2 have too."""
    top = VAE_WIDTHS[0]
    shapes = conv("conv2", CHANNELS, CHANNELS, 1, 1, 1) | conv("decoder.conv1", CHANNELS, top, 3, 3, 3)
    shapes |= residual("decoder.middle.0", top, top) | residual("decoder.middle.2", top, top)
    shapes |= {"decoder.middle.1.norm.gamma": (top, 1, 1)}
    shapes |= conv("decoder.middle.1.to_qkv", top, 3 * top, 1, 1) | conv("decoder.middle.1.proj", top, top, 1, 1)
    number, inputs = 0, top
    for level, width in enumerate(VAE_WIDTHS):
        for _ in range(3):
            shapes |= residual(f"decoder.upsamples.{number}", inputs, width)
            number, inputs = number + 1, width
        if level < 3:
            shapes |= conv(f"decoder.upsamples.{number}.resample.1", width, width // 2, 3, 3)
            if level < 2:
                shapes |= conv(f"decoder.upsamples.{number}.time_conv", width, 2 * width, 3, 1, 1)
            number, inputs = number + 1, width // 2
    # Newer hosts read the colours of a VAE off its first layer.
    shapes |= conv("encoder.conv1", 3, inputs, 3, 3, 3)
    return shapes | {"decoder.head.0.gamma": (inputs, 1, 1, 1)} | conv("decoder.head.2", inputs, 3, 3, 3, 3)


def drawn(side: str, shapes: Shapes) -> Tensors:
    """Weights that keep the variance, norms of 1 and biases of 0."""
    tensors = {}
    for name, shape in shapes.items():
        if name.endswith(".gamma"):
            tensors[name] = np.ones(shape, np.float32)
        else:
            gain = SMALL_GAIN if name.endswith(SMALL) else np.float32(1)
            tensors[name] = gain * demo_models.initial(f"wan.{side}.{name}", shape)
    return demo_models.half(tensors)


def adapter(side: str) -> Tensors:
    """A LoRA on all attentions, under the names of ComfyUI and of diffusers."""
    return demo_models.half(dict(_pairs(side)))


def _pairs(side: str) -> Iterator[tuple[str, np.ndarray]]:
    for number in range(BLOCKS):
        for layer in (f"diffusion_model.blocks.{number}.{name}.{part}" for name in ATTENTIONS for part in "qkvo"):
            for letter, shape in (("A", (RANK, WIDTH)), ("B", (WIDTH, RANK))):
                key = f"{layer}.lora_{letter}.weight"
                yield key, demo_models.initial(f"wan.{side}.{key}", shape)


def write_text(path: Path) -> None:
    """CLIP-L's text model in fp8, a byte a number."""
    import torch
    from safetensors.torch import save_file

    text = {f"text_model.{name}": torch.from_numpy(value) for name, value in demo_models.text_model().items()}
    wide = {name: value.to(torch.float8_e4m3fn) if value.ndim > 1 else value for name, value in text.items()}
    save_file({name: value for name, value in wide.items() if "position_ids" not in name}, path)


def artefacts() -> dict[str, Callable[[Path], object]]:
    """What writes each file, by its path under the base directory."""

    def write(path: Path, tensors: Callable[[], Tensors]) -> None:
        demo_models.write_safetensors(path, tensors())

    files: dict[str, Callable[[Path], object]] = {"models/text_encoders/styledelta_wan_text.safetensors": write_text}
    vae = partial(drawn, "vae", decoder_shapes())
    files["models/vae/styledelta_wan_vae.safetensors"] = partial(write, tensors=vae)
    for side in ("high_noise", "low_noise"):
        net, lora = partial(drawn, side, diffusion_shapes()), partial(adapter, side)
        files[f"models/diffusion_models/styledelta_wan_{side}.safetensors"] = partial(write, tensors=net)
        files[f"models/loras/styledelta_wan/pattern_{side}.safetensors"] = partial(write, tensors=lora)
    return files


def make_wan_models(base_dir: str | Path) -> list[Path]:
    """Write every stand-in under `base_dir` and return their paths; a finished set is left alone."""
    return demo_models.make_files(base_dir, artefacts(), STAMP, (Path(__file__), Path(demo_models.__file__)))


def main() -> None:
    """Write the files and say what they are."""
    if len(sys.argv) != 2:
        sys.exit("usage: python wan_models.py BASE_DIR")
    for path in make_wan_models(sys.argv[1]):
        print(f"{path.stat().st_size / 2**20:8.1f} MiB  {path}")


if __name__ == "__main__":
    main()
