"""Prompts that grow node by node, for pictures of the demo's trained models."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from comfy_server import ComfyServer, Prompt
from PIL import Image

BASE = "styledelta_emoji.safetensors"
NET = "styledelta_emoji_canny.safetensors"
SEED, STEPS, GUIDANCE, SIZE = 7, 10, 3.0, 64
# The trained net steers weakly.
CONTROL = 1.5
EDGES = {"blur": 0.7, "automatic": True, "low": 0.1, "high": 0.2, "resolution": 0}

Link = list[Any]
Conditionings = tuple[Link, Link]


class Sketch:
    """One prompt. Equal nodes are added once, so that whatever is asked for twice is computed once."""

    def __init__(self) -> None:
        self.prompt: Prompt = {}
        self._known: dict[str, str] = {}

    def add(self, kind: str, **inputs: Any) -> str:
        """The id of a node with these inputs."""
        content = json.dumps([kind, inputs], sort_keys=True)
        if content not in self._known:
            self._known[content] = str(len(self.prompt) + 1)
            self.prompt[self._known[content]] = {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}
        return self._known[content]

    def out(self, kind: str, slot: int = 0, **inputs: Any) -> Link:
        """An output of such a node."""
        return [self.add(kind, **inputs), slot]

    @property
    def model(self) -> Link:
        return self.out("CheckpointLoaderSimple", ckpt_name=BASE)

    @property
    def clip(self) -> Link:
        return self.out("CheckpointLoaderSimple", 1, ckpt_name=BASE)

    @property
    def vae(self) -> Link:
        return self.out("CheckpointLoaderSimple", 2, ckpt_name=BASE)

    @property
    def net(self) -> Link:
        return self.out("StyleDeltaLoadControlNet", control_net_name=NET)

    def fine_tune(self, style: str) -> Link:
        return self.out("UNETLoader", unet_name=f"styledelta_emoji_{style}.safetensors", weight_dtype="default")

    def lora(self, name: str) -> Link:
        return self.out("StyleDeltaLoadLora", lora_name=name)

    def with_lora(self, lora: Link) -> Link:
        """The base with a LORA_MODEL."""
        return self.out("StyleDeltaApplyLora", model=self.model, lora_model=lora, strength_model=1.0, strength_clip=1.0)

    def stacked(self, rows: Sequence[tuple[str, float, str]]) -> Link:
        """The base with LoRAs, each with a strength and a preset of blocks."""
        stack: dict[str, Link] = {}
        for name, strength, preset in rows:
            row = {"lora_name": name, "strength_model": strength, "strength_clip": strength, "preset": preset}
            stack = {"lora_stack": self.out("StyleDeltaAddLora", **row, block_weights="", **stack)}
        return self.out("StyleDeltaApplyLoraStack", model=self.model, **stack)

    def loaded(self, name: str) -> Link:
        return self.out("LoadImage", image=name)

    def batch(self, names: Iterable[str]) -> Link:
        """Pictures of the input folder in one batch."""
        batch, *others = map(self.loaded, names)
        for image in others:
            batch = self.out("ImageBatch", image1=batch, image2=image)
        return batch

    def matched(self, image: Link, amount: float, rules: str, latent_amount: float) -> Link:
        """The base under Reference AdaIN, with block rules."""
        when = {"style_fidelity": 1.0, "start_percent": 0.0, "end_percent": 1.0}
        how = {"amount": amount, "block_weights": rules, "latent_amount": latent_amount}
        return self.out("StyleDeltaReferenceAdaIN", model=self.model, reference=self.latent(image), **how, **when)

    def words(self, caption: str) -> Conditionings:
        """What is asked for, and nothing as its negative."""
        positive, negative = (self.out("CLIPTextEncode", text=text, clip=self.clip) for text in (caption, ""))
        return positive, negative

    def controlled(self, words: Conditionings, net: Link, hint: Link, **settings: Any) -> Conditionings:
        """Conditionings with a control net."""
        usual = {"strength": CONTROL, "start_percent": 0.0, "end_percent": 1.0, "fit": "crop"}
        inputs = {"positive": words[0], "negative": words[1], "control_net": net, "image": hint}
        node = self.add("StyleDeltaControlNetApply", **usual | inputs | settings)
        return [node, 0], [node, 1]

    def edges(self, drawing: str) -> Link:
        return self.out("StyleDeltaCanny", image=self.loaded(drawing), **EDGES)

    def latent(self, images: Link) -> Link:
        return self.out("VAEEncode", pixels=images, vae=self.vae)

    def sampled(self, model: Link, words: Conditionings) -> str:
        """The node that shows what a model draws."""
        settings = {"seed": SEED, "steps": STEPS, "cfg": GUIDANCE, "sampler_name": "euler", "scheduler": "normal"}
        empty = self.out("EmptyLatentImage", width=SIZE, height=SIZE, batch_size=1)
        asked = {"positive": words[0], "negative": words[1], "latent_image": empty, "denoise": 1.0}
        samples = self.out("KSampler", model=model, **settings, **asked)
        return self.shown(self.out("VAEDecode", samples=samples, vae=self.vae))

    def shown(self, images: Link) -> str:
        return self.add("PreviewImage", images=images)


def picture_of(server: ComfyServer, outputs: Mapping[str, Any], node: str) -> Image.Image:
    """The picture that a node of a finished prompt shows."""
    return Image.open(io.BytesIO(server.view(**outputs[node]["images"][0]))).convert("RGB")
