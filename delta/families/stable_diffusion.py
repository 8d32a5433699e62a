"""The U-Nets of Stable Diffusion 1 and 2, of SDXL and of its refiner."""

from __future__ import annotations

from collections.abc import Iterable

from .record import KOHYA, Family, HostModel, Weight, pairs

RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
TRANSFORMER_BLOCK = (
    *(f"attn{n}.{layer}" for n in (1, 2) for layer in ("to_q", "to_k", "to_v", "to_out.0")),
    *("ff.net.0.proj", "ff.net.2", "norm1", "norm2", "norm3"),
)
AROUND_BLOCKS = ("norm", "proj_in", "proj_out")
OUTSIDE = {
    "input_blocks.0.0": "conv_in",
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
# Stable Diffusion 2 unCLIP calls the label embedding so.
CLASS_EMBEDDING = pairs("label_emb.0", "class_embedding", {"0": "linear_1", "2": "linear_2"})
# Each level of a U-Net takes three numbers in ComfyUI: two ResNets and the resampler going down, three ResNets going up.
PER_LEVEL = 3


def unet(attention: tuple[bool, ...], block: str) -> Iterable[Weight]:
    """The weights of a U-Net. attention: whether each level has transformers, from the outermost; block: the number of their
    blocks, or `#` for any."""
    layers = (*AROUND_BLOCKS, *(f"transformer_blocks.{block}.{layer}" for layer in TRANSFORMER_BLOCK))
    transformer = dict(zip(layers, layers))
    yield from pairs("", "", OUTSIDE)
    last = len(attention) - 1
    for level, attends in enumerate(attention):
        for index in range(PER_LEVEL - 1):
            yield from _block(
                f"input_blocks.{1 + PER_LEVEL * level + index}",
                f"down_blocks.{level}",
                index,
                transformer if attends else {},
            )
        if level < last:
            yield Weight(f"input_blocks.{PER_LEVEL * (level + 1)}.0.op", (f"down_blocks.{level}.downsamplers.0.conv",))
    yield from pairs("middle_block.0", "mid_block.resnets.0", RESNET)
    yield from pairs("middle_block.1", "mid_block.attentions.0", transformer)
    yield from pairs("middle_block.2", "mid_block.resnets.1", RESNET)
    for level, attends in enumerate(reversed(attention)):
        for index in range(PER_LEVEL):
            yield from _block(
                f"output_blocks.{PER_LEVEL * level + index}",
                f"up_blocks.{level}",
                index,
                transformer if attends else {},
            )
        if level < last:
            resampler = f"output_blocks.{PER_LEVEL * level + 2}.{2 if attends else 1}.conv"
            yield Weight(resampler, (f"up_blocks.{level}.upsamplers.0.conv",))


def _block(comfy: str, diffusers: str, index: int, transformer: dict[str, str]) -> Iterable[Weight]:
    yield from pairs(f"{comfy}.0", f"{diffusers}.resnets.{index}", RESNET)
    yield from pairs(f"{comfy}.1", f"{diffusers}.attentions.{index}", transformer)


def _family(
    name: str,
    attention: tuple[bool, ...],
    block: str,
    host: HostModel,
    marks: tuple[str, ...],
    lacks: tuple[str, ...],
) -> Family:
    return Family(
        name,
        marks=marks,
        lacks=lacks,
        weights=tuple(unet(attention, block)),
        aliases=CLASS_EMBEDDING,
        diffusers_prefix="unet.",
        whole_diffusers=True,
        styles={"OneTrainer": KOHYA},
        host=host,
    )


CONFIG = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "use_checkpoint": False,
    "use_spatial_transformer": True,
    "legacy": False,
    "use_temporal_attention": False,
    "use_temporal_resblock": False,
}
FIRST = "input_blocks.0.0.weight"
OUTER, SECOND, LAST = (
    "input_blocks.1.1.norm.weight",
    "input_blocks.4.1.norm.weight",
    "input_blocks.11.0.in_layers.0.weight",
)
# KOALA has one ResNet a level.
SECOND_RESNET = "input_blocks.2.0.in_layers.0.weight"
SD = _family(
    "Stable Diffusion 1 or 2",
    (True, True, True, False),
    "0",
    HostModel(
        "SD15",
        CONFIG
        | {
            "context_dim": 32,
            "num_res_blocks": [2, 2, 2, 2],
            "channel_mult": [1, 2, 4, 4],
            "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
            "transformer_depth_middle": 1,
            "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
            "use_linear_in_transformer": False,
            "adm_in_channels": None,
        },
    ),
    (FIRST, OUTER, LAST),
    ("middle_block.1.time_pos_embed.0.weight",),
)
SDXL = _family(
    "SDXL",
    (False, True, True),
    "#",
    HostModel(
        "SDXL",
        CONFIG
        | {
            "context_dim": 32,
            "num_res_blocks": [2, 2, 2],
            "channel_mult": [1, 2, 4],
            "transformer_depth": [0, 0, 2, 2, 10, 10],
            "transformer_depth_middle": 10,
            "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
            "use_linear_in_transformer": True,
            "num_classes": "sequential",
            "adm_in_channels": 2816,
        },
    ),
    (FIRST, SECOND, SECOND_RESNET),
    (OUTER, LAST, "input_blocks.4.0.op.weight"),
)
REFINER = _family(
    "SDXL refiner",
    (False, True, True, False),
    "#",
    HostModel(
        "SDXLRefiner",
        CONFIG
        | {
            "context_dim": 32,
            "num_res_blocks": [2, 2, 2, 2],
            "channel_mult": [1, 2, 4, 4],
            "transformer_depth": [0, 0, 4, 4, 4, 4, 0, 0],
            "transformer_depth_middle": 4,
            "transformer_depth_output": [0, 0, 0, 4, 4, 4, 4, 4, 4, 0, 0, 0],
            "use_linear_in_transformer": True,
            "num_classes": "sequential",
            "adm_in_channels": 2560,
        },
    ),
    (FIRST, SECOND, LAST),
    (OUTER, "label_emb.weight"),
)
FAMILIES = (SD, SDXL, REFINER)
