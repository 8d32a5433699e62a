"""Chroma and Chroma Radiance: Flux whose modulation comes from one embedder."""

from __future__ import annotations

from .flux import DOUBLE, DOUBLE_BLOCK, DOUBLE_QKV, LINEAR1, OUTSIDE, QK_NORMS, SINGLE_BLOCK, SINGLE_QK_NORMS
from .record import LORA_TRANSFORMER, MODULATION, Family, HostModel, own, pairs

# The layers of Flux that it has.
MLP_AND_OUTPUT = {ours: theirs for ours, theirs in DOUBLE.items() if not ours.endswith("_mod.lin")}
ENDS = {ours: OUTSIDE[ours] for ours in ("img_in", "txt_in", "final_layer.linear")}

RADIANCE = {
    "image_model": "chroma_radiance",
    "in_channels": 3,
    "out_channels": 3,
    "patch_size": 16,
    "nerf_hidden_size": 64,
    "nerf_mlp_ratio": 4,
    "nerf_depth": 4,
    "nerf_max_freqs": 8,
    "nerf_tile_size": 512,
    "nerf_final_head_type": "conv",
    "nerf_embedder_dtype": None,
    "use_x0": False,
    "use_sequential_txt_ids": False,
}

FAMILY = Family(
    "Chroma",
    marks=("distilled_guidance_layer.in_proj.weight", "distilled_guidance_layer.out_proj.weight"),
    weights=(
        *DOUBLE_QKV,
        *pairs(*DOUBLE_BLOCK, MLP_AND_OUTPUT | QK_NORMS),
        LINEAR1,
        *pairs(*SINGLE_BLOCK, {"linear2": "proj_out"} | SINGLE_QK_NORMS),
        *pairs("", "", ENDS),
        *own(
            "distilled_guidance_layer.{in_proj,out_proj}",
            "distilled_guidance_layer.layers.#.{in_layer,out_layer}",
            "distilled_guidance_layer.norms.{0,1,2,3,4}",
            "img_in_patch",
            "nerf_blocks.#.{norm,param_generator}",
            "nerf_final_layer.{linear,norm}",
            "nerf_final_layer_conv.{conv,norm}",
            "nerf_image_embedder.embedder.0",
        ),
    ),
    aliases=pairs(
        "distilled_guidance_layer.layers.#",
        "distilled_guidance_layer.layers.#",
        {"in_layer": "linear_1", "out_layer": "linear_2"},
    ),
    diffusers_prefix="transformer.",
    proportions={"single_blocks.#.linear1": 7},
    # The embedder makes the modulation of all blocks: its norms and its last bias are of this tier.
    norms={
        MODULATION: (
            r"distilled_guidance_layer\.norms\.\d+\.(?:weight|scale)",
            r"distilled_guidance_layer\.out_proj\.bias",
        )
    },
    styles={"OneTrainer": LORA_TRANSFORMER},
    host=HostModel(
        "Chroma",
        {
            "image_model": "chroma",
            "in_channels": 64,
            "out_channels": 64,
            "vec_in_dim": None,
            "context_in_dim": 4096,
            "hidden_size": 3072,
            "mlp_ratio": 4.0,
            "num_heads": 24,
            "depth": 2,
            "depth_single_blocks": 2,
            "axes_dim": [16, 56, 56],
            "theta": 10000,
            "patch_size": 2,
            "qkv_bias": True,
            "txt_ids_dims": [],
            "in_dim": 64,
            "out_dim": 3072,
            "hidden_dim": 5120,
            "n_layers": 5,
        },
    ),
    variants=(
        HostModel("ChromaRadiance", RADIANCE),
        HostModel("ChromaRadiance", RADIANCE | {"nerf_final_head_type": "linear", "use_x0": True}),
    ),
)
