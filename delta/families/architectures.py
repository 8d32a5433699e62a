"""The weights of the models that LoRAs are made for, by ComfyUI's path and by the diffusers modules that hold them.

Written from the module trees of both programs; the host tests compare every row with ComfyUI's own key maps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

# ComfyUI calls the weight of these norms `weight` or `scale`, which differs from version to version.
SCALE_NORMS = (".query_norm", ".key_norm")


class Weight(NamedTuple):
    """One weight.

    comfy: its path in ComfyUI; parts: the diffusers modules that hold its rows, in order; shares: how many rows each
    part has, in units that they have in common; swapped: whether diffusers stores the two halves of the rows the other
    way round.
    """

    comfy: str
    parts: tuple[str, ...]
    shares: tuple[int, ...] = (1,)
    swapped: bool = False


class Place(NamedTuple):
    """What a name stands for: a weight as a whole under ComfyUI's name (part None), or one diffusers part of it."""

    weight: Weight
    part: int | None


@dataclass(frozen=True)
class Architecture:
    """A family of models. diffusers_prefix: how diffusers names begin that ComfyUI reads too; None where it reads none."""

    name: str
    make_weights: Callable[[], Iterable[Weight]]
    diffusers_prefix: str | None

    @cached_property
    def places(self) -> dict[str, Place]:
        """Every name of every weight, with underscores for dots."""
        places = {}
        for weight in self.make_weights():
            for index, part in enumerate(weight.parts):
                places[flat(part)] = Place(weight, index)
            places[flat(weight.comfy)] = Place(weight, None)
            if weight.comfy.endswith(SCALE_NORMS):
                places[flat(weight.comfy) + "_scale"] = Place(weight, None)
        return places


def flat(path: str) -> str:
    """A path with underscores for dots. Diffusers keeps an attention's output layer in a list, whose number is left out."""
    name = path.replace(".", "_")
    return name.removesuffix("_0") if name.endswith("_to_out_0") else name


RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
TRANSFORMER = ("norm", "proj_in", "proj_out")
TRANSFORMER_BLOCK = (
    *(f"attn{n}.{layer}" for n in (1, 2) for layer in ("to_q", "to_k", "to_v", "to_out.0")),
    *("ff.net.0.proj", "ff.net.2", "norm1", "norm2", "norm3"),
)
UNET_OUTSIDE = {
    "input_blocks.0.0": "conv_in",
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
# Each level of a U-Net takes three numbers in ComfyUI: two ResNets and the resampler going down, three ResNets going up.
PER_LEVEL = 3


def _unet(depths: tuple[int, ...]) -> Iterable[Weight]:
    """A U-Net of Stable Diffusion. depths: transformer blocks per level, from the outermost; 0 without attention."""
    for comfy, diffusers in UNET_OUTSIDE.items():
        yield Weight(comfy, (diffusers,))
    last = len(depths) - 1
    for level, depth in enumerate(depths):
        for index in range(PER_LEVEL - 1):
            block = f"input_blocks.{1 + PER_LEVEL * level + index}"
            yield from _unet_block(block, f"down_blocks.{level}", index, depth)
        if level < last:
            resampler = f"input_blocks.{PER_LEVEL * (level + 1)}.0.op"
            yield Weight(resampler, (f"down_blocks.{level}.downsamplers.0.conv",))
    yield from _unet_resnet("middle_block.0", "mid_block.resnets.0")
    yield from _unet_attention("middle_block.1", "mid_block.attentions.0", max(depths))
    yield from _unet_resnet("middle_block.2", "mid_block.resnets.1")
    for level, depth in enumerate(reversed(depths)):
        for index in range(PER_LEVEL):
            yield from _unet_block(f"output_blocks.{PER_LEVEL * level + index}", f"up_blocks.{level}", index, depth)
        if level < last:
            resampler = f"output_blocks.{PER_LEVEL * level + 2}.{2 if depth else 1}.conv"
            yield Weight(resampler, (f"up_blocks.{level}.upsamplers.0.conv",))


def _unet_block(comfy: str, diffusers: str, index: int, depth: int) -> Iterable[Weight]:
    yield from _unet_resnet(f"{comfy}.0", f"{diffusers}.resnets.{index}")
    if depth:
        yield from _unet_attention(f"{comfy}.1", f"{diffusers}.attentions.{index}", depth)


def _unet_resnet(comfy: str, diffusers: str) -> Iterable[Weight]:
    return (Weight(f"{comfy}.{ours}", (f"{diffusers}.{theirs}",)) for ours, theirs in RESNET.items())


def _unet_attention(comfy: str, diffusers: str, depth: int) -> Iterable[Weight]:
    blocks = [f"transformer_blocks.{n}.{layer}" for n in range(depth) for layer in TRANSFORMER_BLOCK]
    return (Weight(f"{comfy}.{layer}", (f"{diffusers}.{layer}",)) for layer in (*TRANSFORMER, *blocks))


def _repeated(rows: Iterable[Weight], counts: Iterable[int]) -> Iterable[Weight]:
    """Rows for every number of a block in place of `{}`."""
    rows = list(rows)
    for number in counts:
        for row in rows:
            yield row._replace(comfy=row.comfy.format(number), parts=tuple(part.format(number) for part in row.parts))


def _pairs(comfy: str, diffusers: str, layers: dict[str, str]) -> list[Weight]:
    return [Weight(f"{comfy}.{ours}", (f"{diffusers}.{theirs}",)) for ours, theirs in layers.items()]


def _fused(comfy: str, diffusers: str, parts: tuple[str, ...], shares: tuple[int, ...] = (1, 1, 1)) -> Weight:
    return Weight(comfy, tuple(f"{diffusers}.{part}" for part in parts), shares)


QKV = ("to_q", "to_k", "to_v")
ADDED_QKV = ("add_q_proj", "add_k_proj", "add_v_proj")
FLUX_DOUBLE = {
    "img_attn.proj": "attn.to_out.0",
    "txt_attn.proj": "attn.to_add_out",
    "img_mlp.0": "ff.net.0.proj",
    "img_mlp.2": "ff.net.2",
    "txt_mlp.0": "ff_context.net.0.proj",
    "txt_mlp.2": "ff_context.net.2",
    "img_mod.lin": "norm1.linear",
    "txt_mod.lin": "norm1_context.linear",
    "img_attn.norm.query_norm": "attn.norm_q",
    "img_attn.norm.key_norm": "attn.norm_k",
    "txt_attn.norm.query_norm": "attn.norm_added_q",
    "txt_attn.norm.key_norm": "attn.norm_added_k",
}
FLUX_SINGLE = {
    "linear2": "proj_out",
    "modulation.lin": "norm.linear",
    "norm.query_norm": "attn.norm_q",
    "norm.key_norm": "attn.norm_k",
}
FLUX_OUTSIDE = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "final_layer.linear": "proj_out",
}


def _flux() -> Iterable[Weight]:
    comfy, diffusers = "double_blocks.{}", "transformer_blocks.{}"
    double = [
        _fused(f"{comfy}.img_attn.qkv", f"{diffusers}.attn", QKV),
        _fused(f"{comfy}.txt_attn.qkv", f"{diffusers}.attn", ADDED_QKV),
    ]
    yield from _repeated(double + _pairs(comfy, diffusers, FLUX_DOUBLE), range(19))
    comfy, diffusers = "single_blocks.{}", "single_transformer_blocks.{}"
    # Query, key and value have as many rows as the hidden size, the MLP four times as many.
    linear1 = (*(f"attn.{part}" for part in QKV), "proj_mlp")
    single = [_fused(f"{comfy}.linear1", diffusers, linear1, (1, 1, 1, 4))]
    yield from _repeated(single + _pairs(comfy, diffusers, FLUX_SINGLE), range(38))
    for ours, theirs in FLUX_OUTSIDE.items():
        yield Weight(ours, (theirs,))
    yield Weight("final_layer.adaLN_modulation.1", ("norm_out.linear",), swapped=True)


def _sd3() -> Iterable[Weight]:
    comfy, diffusers = "joint_blocks.{}", "transformer_blocks.{}"
    rows = [
        _fused(f"{comfy}.x_block.attn.qkv", f"{diffusers}.attn", QKV),
        _fused(f"{comfy}.x_block.attn2.qkv", f"{diffusers}.attn2", QKV),
        _fused(f"{comfy}.context_block.attn.qkv", f"{diffusers}.attn", ADDED_QKV),
    ]
    pairs = {
        "x_block.attn.proj": "attn.to_out.0",
        "x_block.attn2.proj": "attn2.to_out.0",
        "context_block.attn.proj": "attn.to_add_out",
        "x_block.mlp.fc1": "ff.net.0.proj",
        "x_block.mlp.fc2": "ff.net.2",
        "context_block.mlp.fc1": "ff_context.net.0.proj",
        "context_block.mlp.fc2": "ff_context.net.2",
        "x_block.adaLN_modulation.1": "norm1.linear",
    }
    return _repeated(rows + _pairs(comfy, diffusers, pairs), range(38))


def _z_image() -> Iterable[Weight]:
    same = ("feed_forward.w1", "feed_forward.w2", "feed_forward.w3", "adaLN_modulation.0")
    pairs = {"attention.out": "attention.to_out.0"} | {layer: layer for layer in same}
    for stack, depth in (("layers", 30), ("context_refiner", 2), ("noise_refiner", 2)):
        block = f"{stack}.{{}}"
        qkv = _fused(f"{block}.attention.qkv", f"{block}.attention", QKV)
        yield from _repeated([qkv, *_pairs(block, block, pairs)], range(depth))


def _qwen_image() -> Iterable[Weight]:
    attention = (*QKV, *ADDED_QKV, "to_out.0", "to_add_out")
    mlps = [f"{stream}_{layer}" for stream in ("img", "txt") for layer in ("mlp.net.0.proj", "mlp.net.2", "mod.1")]
    block = "transformer_blocks.{}"
    layers = [f"{block}.{layer}" for layer in (*(f"attn.{part}" for part in attention), *mlps)]
    yield from _repeated([Weight(layer, (layer,)) for layer in layers], range(60))
    embedder = "time_text_embed.timestep_embedder"
    for layer in ("img_in", "txt_in", "proj_out", "norm_out.linear", f"{embedder}.linear_1", f"{embedder}.linear_2"):
        yield Weight(layer, (layer,))


def _wan() -> Iterable[Weight]:
    layers = [f"self_attn.{part}" for part in "qkvo"] + [f"cross_attn.{part}" for part in "qkvo"]
    layers += ["cross_attn.k_img", "cross_attn.v_img", "ffn.0", "ffn.2", "norm3"]
    layers += [f"{attention}.norm_{part}" for attention in ("self_attn", "cross_attn") for part in "qk"]
    yield from _repeated([Weight(f"blocks.{{}}.{layer}", ()) for layer in layers], range(40))
    outside = ("patch_embedding", "text_embedding.0", "text_embedding.2", "time_embedding.0", "time_embedding.2")
    for layer in (*outside, "time_projection.1", "head.head"):
        yield Weight(layer, ())


def _hunyuan_video() -> Iterable[Weight]:
    layers = [layer for layer in FLUX_DOUBLE if ".norm." not in layer] + ["img_attn.qkv", "txt_attn.qkv"]
    double = [Weight(f"double_blocks.{{}}.{layer}", ()) for layer in layers]
    single = [Weight(f"single_blocks.{{}}.{layer}", ()) for layer in ("linear1", "linear2", "modulation.lin")]
    yield from _repeated(double, range(20))
    yield from _repeated(single, range(40))


CLIP_LAYERS = (*(f"self_attn.{part}_proj" for part in ("q", "k", "v", "out")), "mlp.fc1", "mlp.fc2")
T5_LAYERS = (
    *(f"0.SelfAttention.{part}" for part in "qkvo"),
    *(f"1.DenseReluDense.{part}" for part in ("wi_0", "wi_1", "wo")),
)


def _text_encoders() -> Iterable[Weight]:
    """CLIP and T5. Only the layers with parts have names of kohya and diffusers that ComfyUI reads."""
    clip = [Weight(layer, (layer,)) for layer in (f"text_model.encoder.layers.{{}}.{part}" for part in CLIP_LAYERS)]
    clip += [Weight(f"text_model.encoder.layers.{{}}.layer_norm{n}", ()) for n in (1, 2)]
    yield from _repeated(clip, range(32))
    embeddings = ("token_embedding", "position_embedding")
    for layer in ("final_layer_norm", *(f"embeddings.{embedding}" for embedding in embeddings)):
        yield Weight(f"text_model.{layer}", ())
    yield Weight("text_projection", ())
    t5 = [f"encoder.block.{{}}.layer.{layer}" for layer in T5_LAYERS]
    yield from _repeated([Weight(layer, (layer,)) for layer in t5], range(24))


UNETS = (
    Architecture("Stable Diffusion 1.5 or 2", lambda: _unet((1, 1, 1, 0)), "unet."),
    Architecture("SDXL", lambda: _unet((0, 2, 10)), "unet."),
)
TEXT_ENCODERS = Architecture("text encoder", _text_encoders, None)
# Where names fit two architectures equally well, the one that stands first is meant.
ARCHITECTURES = (
    *UNETS,
    Architecture("Flux", _flux, "transformer."),
    Architecture("Stable Diffusion 3", _sd3, "transformer."),
    Architecture("Qwen-Image", _qwen_image, "transformer."),
    # ComfyUI 0.3.75 reads the diffusers modules of Z-Image behind its own prefix only, and diffusers accepts that.
    Architecture("Z-Image", _z_image, "diffusion_model."),
    Architecture("Wan", _wan, None),
    Architecture("HunyuanVideo", _hunyuan_video, None),
)
