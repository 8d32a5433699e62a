"""Stable Cascade, both stages."""

from __future__ import annotations

from .record import MODULATION, Family, HostModel, own

FAMILY = Family(
    "Stable Cascade",
    marks=("clf.1.weight", "embedding.1.weight"),
    foreign=("down_blocks.0.2.attention.to_q.weight",),
    weights=(
        *own(
            "{clf,embedding}.1",
            "{clip_img_mapper,clip_mapper,clip_txt_mapper,clip_txt_pooled_mapper}",
            "down_blocks.#.#.attention.attn.{out_proj,to_k,to_q,to_v}",
            "down_blocks.#.#.channelwise.{0,4}",
            "down_blocks.#.#.channelwise.2.{beta,gamma}",
            "{down_blocks,up_blocks}.#.#.{depthwise,mapper,mapper_crp,mapper_sca}",
            "down_blocks.#.#.kv_mapper.1",
            "down_downscalers.{1,2,3}.1",
            "down_downscalers.1.1.blocks.0",
            "{effnet_mapper,pixels_mapper}.{0,2}",
            "up_blocks.#.#.attention.attn.{out_proj,to_k,to_q,to_v}",
            "up_blocks.#.#.channelwise.{0,4}",
            "up_blocks.#.#.channelwise.2.{beta,gamma}",
            "up_blocks.#.#.kv_mapper.1",
            "up_repeat_mappers.#.{0,1}",
            "up_upscalers.{0,1,2}.1",
            "up_upscalers.0.1.blocks.1",
        ),
    ),
    bare=(
        "down_blocks.#.#.channelwise.2.{beta,gamma}",
        "up_blocks.#.#.channelwise.2.{beta,gamma}",
    ),
    # Scale and shift of the features by the time step and by what else conditions the model.
    norms={MODULATION: (r"(?:down|up)_blocks\.\d+\.\d+\.mapper(?:_\w+)?\.bias",)},
    host=HostModel(
        "Stable_Cascade_C",
        {
            "stable_cascade_stage": "c",
            "c_cond": 64,
            "c_hidden": [64, 64],
            "nhead": [2, 2],
            "blocks": [[2, 2], [2, 2]],
        },
    ),
    variants=(
        HostModel(
            "Stable_Cascade_B",
            {
                "stable_cascade_stage": "b",
                "c_hidden": [32, 48, 64, 64],
                "nhead": [-1, -1, 2, 2],
                "blocks": [[2, 2, 2, 2], [2, 2, 2, 2]],
                "block_repeat": [[1, 1, 1, 1], [3, 3, 2, 2]],
            },
        ),
    ),
)
