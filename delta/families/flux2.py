"""FLUX.2: dev and klein."""

from __future__ import annotations

from .flux import CONFIG, DOUBLE_BLOCK, DOUBLE_QKV, LAST_NORM, QK_NORMS, SINGLE_BLOCK, SINGLE_QK_NORMS
from .record import Family, HostModel, pairs

DOUBLE = {
    "img_attn.proj": "attn.to_out.0",
    "txt_attn.proj": "attn.to_add_out",
    "img_mlp.0": "ff.linear_in",
    "img_mlp.2": "ff.linear_out",
    "txt_mlp.0": "ff_context.linear_in",
    "txt_mlp.2": "ff_context.linear_out",
}
SINGLE = {"linear1": "attn.to_qkv_mlp_proj", "linear2": "attn.to_out"}
OUTSIDE = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_guidance_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_guidance_embed.timestep_embedder.linear_2",
    "guidance_in.in_layer": "time_guidance_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_guidance_embed.guidance_embedder.linear_2",
    "double_stream_modulation_img.lin": "double_stream_modulation_img.linear",
    "double_stream_modulation_txt.lin": "double_stream_modulation_txt.linear",
    "single_stream_modulation.lin": "single_stream_modulation.linear",
    "final_layer.linear": "proj_out",
}
FAMILY = Family(
    "FLUX.2",
    marks=("double_stream_modulation_img.lin.weight", "single_stream_modulation.lin.weight"),
    weights=(
        *DOUBLE_QKV,
        *pairs(*DOUBLE_BLOCK, DOUBLE | QK_NORMS),
        *pairs(*SINGLE_BLOCK, SINGLE | SINGLE_QK_NORMS),
        *pairs("", "", OUTSIDE),
        LAST_NORM,
    ),
    diffusers_prefix="transformer.",
    proportions={"single_blocks.#.linear1": 9},
    host=HostModel(
        "Flux2",
        CONFIG
        | {
            "image_model": "flux2",
            "vec_in_dim": None,
            "mlp_ratio": 3.0,
            "patch_size": 1,
            "qkv_bias": False,
            "global_modulation": True,
            "mlp_silu_act": True,
            "ops_bias": False,
            "default_ref_method": "index",
            "ref_index_scale": 10.0,
            "axes_dim": [8, 8, 8, 8],
            "txt_ids_dims": [3],
            "theta": 2000,
        },
    ),
)
