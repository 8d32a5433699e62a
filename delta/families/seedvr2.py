"""SeedVR2."""

from __future__ import annotations

from .record import Family, HostModel, own

FAMILY = Family(
    "SeedVR2",
    marks=("vid_in.proj.weight", "emb_in.proj_in.weight"),
    weights=(
        *own(
            "blocks.#.ada.{all,txt,vid}.{attn_gate,attn_scale,attn_shift,mlp_gate,mlp_scale,mlp_shift}",
            "blocks.#.attn.{norm_k,norm_q,proj_out,proj_qkv}.{all,txt,vid}",
            "blocks.#.mlp.{all,txt,vid}.{proj_in,proj_in_gate,proj_out}",
            "emb_in.{proj_hid,proj_in,proj_out}",
            "{txt_in,vid_out_norm}",
            "{vid_in,vid_out}.proj",
            "vid_out_ada.{out_scale,out_shift}",
        ),
    ),
    bare=(
        "blocks.#.ada.{all,txt,vid}.{attn_gate,attn_scale,attn_shift,mlp_gate,mlp_scale,mlp_shift}",
        "vid_out_ada.{out_scale,out_shift}",
    ),
    host=HostModel(
        "SeedVR2",
        {
            "image_model": "seedvr2",
            "vid_dim": 2560,
            "heads": 20,
            "num_layers": 12,
            "norm_eps": 1e-05,
            "mlp_type": "swiglu",
            "vid_out_norm": True,
        },
    ),
)
