"""OmniGen2."""

from __future__ import annotations

from .record import Family, HostModel, same

FAMILY = Family(
    "OmniGen2",
    marks=(
        "layers.0.norm2.weight",
        "layers.0.attn.to_q.weight",
        "time_caption_embed.timestep_embedder.linear_1.weight",
        "image_index_embedding",
    ),
    lacks=("single_stream_layers.0.norm2.weight",),
    weights=(
        *same(
            "{context_refiner,layers,noise_refiner,ref_image_refiner}.#.attn.{norm_k,norm_q,to_k,to_q,to_v}",
            "context_refiner.#.attn.to_out.0",
            "{context_refiner,layers,noise_refiner,ref_image_refiner}.#.feed_forward.{linear_1,linear_2,linear_3}",
            "context_refiner.#.{ffn_norm1,ffn_norm2,norm1,norm2}",
            "{image_index_embedding,ref_image_patch_embedder,x_embedder}",
            "layers.#.attn.to_out.0",
            "{layers,noise_refiner,ref_image_refiner}.#.{ffn_norm1,ffn_norm2,norm2}",
            "{layers,noise_refiner,ref_image_refiner}.#.norm1.{linear,norm}",
            "noise_refiner.#.attn.to_out.0",
            "norm_out.{linear_1,linear_2}",
            "ref_image_refiner.#.attn.to_out.0",
            "time_caption_embed.caption_embedder.{0,1}",
            "time_caption_embed.timestep_embedder.{linear_1,linear_2}",
        ),
    ),
    bare=("image_index_embedding",),
    host=HostModel(
        "Omnigen2",
        {
            "image_model": "omnigen2",
            "axes_dim_rope": [40, 40, 40],
            "axes_lens": [1024, 1664, 1664],
            "ffn_dim_multiplier": None,
            "hidden_size": 2520,
            "in_channels": 16,
            "multiple_of": 256,
            "norm_eps": 1e-05,
            "num_attention_heads": 21,
            "num_kv_heads": 7,
            "num_layers": 2,
            "num_refiner_layers": 2,
            "out_channels": None,
            "patch_size": 2,
            "text_feat_dim": 2048,
            "timestep_scale": 1000.0,
        },
    ),
)
