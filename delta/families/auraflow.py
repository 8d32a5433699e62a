"""AuraFlow."""

from __future__ import annotations

from .record import Family, HostModel, Weight, pairs

FAMILY = Family(
    "AuraFlow",
    marks=("modF.1.weight", "double_layers.0.modX.1.weight"),
    weights=(
        *pairs(
            "double_layers.#",
            "joint_transformer_blocks.#",
            {
                "attn.w2q": "attn.to_q",
                "attn.w2k": "attn.to_k",
                "attn.w2v": "attn.to_v",
                "attn.w2o": "attn.to_out.0",
                "attn.w1q": "attn.add_q_proj",
                "attn.w1k": "attn.add_k_proj",
                "attn.w1v": "attn.add_v_proj",
                "attn.w1o": "attn.to_add_out",
                "mlpX.c_fc1": "ff.linear_1",
                "mlpX.c_fc2": "ff.linear_2",
                "mlpX.c_proj": "ff.out_projection",
                "mlpC.c_fc1": "ff_context.linear_1",
                "mlpC.c_fc2": "ff_context.linear_2",
                "mlpC.c_proj": "ff_context.out_projection",
                "modX.1": "norm1.linear",
                "modC.1": "norm1_context.linear",
            },
        ),
        *pairs(
            "single_layers.#",
            "single_transformer_blocks.#",
            {
                "attn.w1q": "attn.to_q",
                "attn.w1k": "attn.to_k",
                "attn.w1v": "attn.to_v",
                "attn.w1o": "attn.to_out.0",
                "modCX.1": "norm1.linear",
                "mlp.c_fc1": "ff.linear_1",
                "mlp.c_fc2": "ff.linear_2",
                "mlp.c_proj": "ff.out_projection",
            },
        ),
        *pairs(
            "",
            "",
            {
                "positional_encoding": "pos_embed.pos_embed",
                "register_tokens": "register_tokens",
                "t_embedder.mlp.0": "time_step_proj.linear_1",
                "t_embedder.mlp.2": "time_step_proj.linear_2",
                "cond_seq_linear": "context_embedder",
                "init_x_linear": "pos_embed.proj",
                "final_linear": "proj_out",
            },
        ),
        Weight("modF.1", ("norm_out.linear",), swapped=True),
    ),
    bare=("{positional_encoding,register_tokens}",),
    diffusers_prefix="transformer.",
    host=HostModel("AuraFlow", {"max_seq": 1024, "cond_seq_dim": 2048, "n_double_layers": 2, "n_layers": 4}),
)
