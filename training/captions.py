"""Captions as ComfyUI's CLIPTextEncode gives them, when the text encoder mixes nothing: a token's context is its own.

The demo's text encoder has positions, attention and MLP outputs of zero, so that the layer norm at the end is all that
changes an embedding. Equal tokens then are equal keys: they are kept once, with the logarithm of their number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import demo_models
import torch
import torch.nn.functional as F
from torch import Tensor

BEGIN, END, LENGTH = 49406, 49407, 77
# Distinct tokens of the longest caption.
TOKENS = 9
ABSENT = -1e4


class Captions:
    """tokenizer: the folder of CLIP's tokenizer in a ComfyUI."""

    def __init__(self, tokenizer: Path):
        self._folder = tokenizer

    @cached_property
    def _tokenizer(self):
        from transformers import CLIPTokenizer

        return CLIPTokenizer.from_pretrained(str(self._folder))

    @cached_property
    def _embeddings(self) -> Tensor:
        """What every token is to cross attention, [49408, 768]."""
        table = torch.from_numpy(demo_models.token_table()).float()
        return F.layer_norm(table, table.shape[1:])

    @property
    def end(self) -> Tensor:
        """The context of the padding, [768]."""
        return self._embeddings[END]

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Contexts [n, 9, 768] of captions and biases [n, 9] of their attention; raise ValueError for a long one."""
        context, bias = torch.zeros(len(texts), TOKENS, self._embeddings.shape[1]), []
        for row, text in enumerate(texts):
            ids = self._tokenizer(text)["input_ids"] if text else [BEGIN, END]
            counts = Counter(ids + [END] * (LENGTH - len(ids)))
            if len(counts) > TOKENS:
                raise ValueError(f'The caption "{text}" has {len(counts)} different tokens, more than {TOKENS}.')
            context[row, : len(counts)] = self._embeddings[list(counts)]
            bias.append([*torch.tensor(list(counts.values())).log().tolist(), *[ABSENT] * (TOKENS - len(counts))])
        return context, torch.tensor(bias)
