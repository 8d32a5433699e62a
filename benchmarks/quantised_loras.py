"""LoRAs on quantised models: what is left of them baked, as ComfyUI applies them, and beside the weights; in layers, in
pictures, and in seconds per step. Every format that the host has is measured; the newest have all.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/harness")]
# Last, so that none of its modules hides one of the host.
sys.path.append(str(ROOT / "training"))

from host_process import Host, start  # noqa: E402

HOST, BASE = Path(os.environ["STYLEDELTA_HOST_DIR"]), Path(os.environ["STYLEDELTA_BASE_DIR"])
CHECKPOINT, STYLE, MAKER = "styledelta_emoji.safetensors", "emoji_noto_rank16.safetensors", "noto"
BLOCK = "middle_block.1.transformer_blocks.0"
LAYERS = tuple(f"{BLOCK}.{layer}" for layer in ("attn1.to_q", "attn1.to_out.0", "ff.net.0.proj", "ff.net.2"))
SHARES, RANK = (0.01, 0.03, 0.1), 16
TEXTS = ("cat face", "red apple", "penguin", "frog")
SEEDS, STEPS, GUIDANCE = (1, 2, 3), 6, 3.0
STRENGTHS = (0.3, 1.0)
GOAL = 0.999


def lora_of(weights: Mapping[str, Any], share: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """A LoRA file that changes each of LAYERS by that share of its norm, and what it adds to each weight."""
    import torch

    generator = torch.Generator().manual_seed(0)
    file, updates = {}, {}
    for layer in LAYERS:
        m, n = weights[f"{layer}.weight"].shape
        up, down = torch.randn(m, RANK, generator=generator), torch.randn(RANK, n, generator=generator)
        up *= share * weights[f"{layer}.weight"].norm() / (up @ down).norm()
        file |= {f"diffusion_model.{layer}.lora_up.weight": up, f"diffusion_model.{layer}.lora_down.weight": down}
        updates[layer] = up @ down
    return file, updates


def in_layers(model: Any, changed: Any, updates: Mapping[str, Any]) -> float:
    """The mean cosine between what the layers' outputs change by and what they are meant to."""
    import torch
    from quantised import cosine, outputs

    found = []
    for layer, update in updates.items():
        given = torch.randn(64, update.shape[1], generator=torch.Generator().manual_seed(1))
        found.append(cosine(outputs(changed, layer, given) - outputs(model, layer, given), given @ update.T))
    return sum(found) / len(found)


def artist(host: Host) -> Callable[[Any, int], Any]:
    """Draws TEXTS with a MODEL and a seed: pictures [n, 3, 64, 64] in 0..1."""
    import torch

    _, clip, vae = host.node("CheckpointLoaderSimple")().load_checkpoint(CHECKPOINT)
    encode = host.node("CLIPTextEncode")().encode
    context, nothing = torch.cat([encode(clip, text)[0][0][0] for text in TEXTS]), encode(clip, "")[0]

    def draw(model: Any, seed: int, steps: int = STEPS) -> Any:
        empty = {"samples": torch.zeros(len(TEXTS), 4, 8, 8)}
        words = [[context, {}]]
        sampled = host.node("KSampler")().sample(model, seed, steps, GUIDANCE, "ddim", "normal", words, nothing, empty)
        return host.node("VAEDecode")().decode(vae, sampled[0])[0].movedim(-1, 1).clamp(0, 1)

    return draw


def distance(one: Sequence[Any], other: Sequence[Any]) -> float:
    """The root mean square of the difference of pictures."""
    return sum(float((a - b).square().mean()) for a, b in zip(one, other)) ** 0.5 / len(one) ** 0.5


def seconds(model: Any, changed: Mapping[str, Any], draw: Callable[..., Any]) -> dict[str, float]:
    """Seconds of a drawing of two steps, loading not counted, with each of the changed models, in turns."""
    found: dict[str, list[float]] = {}
    for _ in range(3):
        for name, patcher in {"none": model, **changed}.items():
            draw(patcher, 0, 1)
            start = time.perf_counter()
            draw(patcher, 0, 2)
            found.setdefault(name, []).append(time.perf_counter() - start)
    return {name: min(values) for name, values in found.items()}


def apply(host: Host, model: Any, file: Mapping[str, Any], mode: str, strength: float = 1.0) -> Any:
    return host.node("StyleDeltaApplyLora").execute(model, file, strength, 1.0, None, mode).result[0]


def table_of_layers(host: Host, weights: Mapping[str, Any]) -> float:
    """Print the table, and return the least cosine beside the weights."""
    import quantised

    print("cosine of the change of layers, baked and beside the weights, by the LoRA's share of the weight:")
    print("| format | " + " | ".join(f"{share:.0%} baked | {share:.0%} beside" for share in SHARES) + " |")
    least = 1.0
    for name in quantised.formats():
        model, row = quantised.load(weights, name, BLOCK), []
        for share in SHARES:
            file, updates = lora_of(weights, share)
            row += [in_layers(model, apply(host, model, file, mode), updates) for mode in ("bake", "automatic")]
        least = min(least, *row[1::2])
        print(f"| {name} | " + " | ".join(f"{value:.4f}" for value in row) + " |", flush=True)
    return least


def row_of_pictures(host: Host, draw: Callable[..., Any], judge: Any, model: Any, strength: float) -> list[str]:
    import quantised

    style = host.node("StyleDeltaLoadLora").execute(STYLE).result[0]
    wide = quantised.load(quantised.dequantised(model), None)
    models = {
        "beside": apply(host, model, style, "automatic", strength),
        "baked": apply(host, model, style, "bake", strength),
    }
    drawn = {way: [draw(patcher, seed) for seed in SEEDS] for way, patcher in ({"none": model} | models).items()}
    expected = [draw(apply(host, wide, style, "bake", strength), seed) for seed in SEEDS]
    plain = [draw(wide, seed) for seed in SEEDS]
    effect = distance(expected, plain)
    off = [distance(drawn["none"], plain), *(distance(drawn[way], expected) for way in ("baked", "beside"))]
    styled = [
        sum(judge.verdict(pictures, TEXTS, MAKER).style for pictures in found) / len(SEEDS)
        for found in (expected, drawn["baked"], drawn["beside"])
    ]
    again = distance([draw(models["baked"], SEEDS[0])], drawn["baked"][:1])
    spent = seconds(model, models, draw)
    return [
        *(f"{value / effect:.3f}" for value in off),
        *(f"{share:.0%}" for share in styled),
        f"{again:.4f}",
        *(f"{spent[way] / spent['none']:.2f}" for way in ("baked", "beside")),
    ]


def main() -> int:
    host = start(HOST, BASE)
    import quantised
    import torch
    from studio import Studio

    with torch.inference_mode():
        weights = quantised.unet_of(str(BASE / "models/checkpoints" / CHECKPOINT))
        least = table_of_layers(host, weights)
        draw, judge = artist(host), Studio(HOST / "comfy/sd1_tokenizer")
        print(
            f"pictures of {len(TEXTS)} captions with {len(SEEDS)} seeds, LoRA {STYLE}: distance (rms) from those of the dequantised"
        )
        print(
            "model with the LoRA in float32, over the distance that the LoRA makes there; share in the LoRA's style, as it is in"
        )
        print("float32; distance of baked ones drawn twice; time of a step over that without a LoRA")
        print("| format | strength | no LoRA | baked | beside | style | baked | beside | twice | step baked | beside |")
        for name in quantised.formats():
            model = quantised.load(weights, name)
            for strength in STRENGTHS:
                print(
                    f"| {name} | {strength} | "
                    + " | ".join(row_of_pictures(host, draw, judge, model, strength))
                    + " |",
                    flush=True,
                )
    print(f"least cosine beside the weights {least:.4f} (goal {GOAL})")
    return int(least < GOAL)


if __name__ == "__main__":
    sys.exit(main())
