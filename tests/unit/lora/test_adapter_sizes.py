"""Which weights an adapter fits, kind by kind."""

import pytest
import torch

from delta.lora.adapter_sizes import misfit


def shapes(**given: tuple[int, ...]) -> dict[str, torch.Tensor]:
    return {name: torch.ones(*shape) for name, shape in given.items()}


def lora(rows: int, columns: int, *kernel: int, rank: int = 2) -> dict[str, torch.Tensor]:
    return {"lora_up.weight": torch.ones(rows, rank), "lora_down.weight": torch.ones(rank, columns, *kernel)}


TUCKER = lora(12, 8, 1, 1) | {"lora_mid.weight": torch.ones(2, 2, 3, 3)}
LOHA = shapes(hada_w1_a=(12, 2), hada_w1_b=(2, 8), hada_w2_a=(12, 3), hada_w2_b=(3, 8))
LOHA_TUCKER = shapes(
    hada_w1_a=(2, 12), hada_w1_b=(2, 8), hada_t1=(2, 2, 3, 3), hada_w2_a=(2, 12), hada_w2_b=(2, 8), hada_t2=(2, 2, 3, 3)
)
LOKR = shapes(lokr_w1=(3, 2), lokr_w2=(4, 4))
LOKR_KERNEL = shapes(lokr_w1_a=(3, 2), lokr_w1_b=(2, 2), lokr_w2=(4, 4, 3, 3))
LOKR_TUCKER = shapes(lokr_w1=(3, 2), lokr_t2=(2, 2, 3, 3), lokr_w2_a=(2, 4), lokr_w2_b=(2, 4))
LOKR_PART = shapes(lokr_w1=(3, 2), lokr_w2=(8, 4)) | {"row_offset": torch.tensor(12)}
GLORA = {"a1.weight": torch.ones(8, 2), "a2.weight": torch.ones(2, 8), "b1.weight": torch.ones(12, 2), "b2.weight": torch.ones(2, 8)}  # fmt: skip
OLD_GLORA = {"a1.weight": torch.ones(2, 8), "a2.weight": torch.ones(8, 2), "b1.weight": torch.ones(2, 8), "b2.weight": torch.ones(12, 2)}  # fmt: skip
OFT = shapes(oft_blocks=(3, 4, 4))
BOFT = shapes(oft_blocks=(2, 4, 4, 4))
DORA_ROWS, DORA_COLUMNS = lora(12, 8) | shapes(dora_scale=(12, 1)), lora(12, 8) | shapes(dora_scale=(1, 8))
PADDED = lora(12, 16) | {"reshape_weight": torch.tensor([12, 16])}
LINEAR, KERNEL = (12, 8), (12, 8, 3, 3)


@pytest.mark.parametrize(
    ("tensors", "shape"),
    [
        (lora(12, 8), LINEAR), (lora(12, 8, 3, 3), KERNEL), (lora(12, 8), (12, 8, 1, 1)), (TUCKER, KERNEL),
        (LOHA, LINEAR), (LOHA_TUCKER, KERNEL), (LOKR, LINEAR), (LOKR_KERNEL, KERNEL), (LOKR_TUCKER, KERNEL),
        (LOKR_PART, LINEAR), (GLORA, LINEAR), (OLD_GLORA, LINEAR), (OFT, LINEAR), (OFT, KERNEL),
        (BOFT, (16, 8)), (DORA_ROWS, LINEAR), (DORA_COLUMNS, LINEAR), (PADDED, LINEAR),
    ],
)  # fmt: skip
def test_what_fits(tensors, shape):
    assert misfit(tensors, shape) is None


@pytest.mark.parametrize(
    ("tensors", "shape", "problem"),
    [
        (lora(12, 8), (12, 9), "the LoRA's change is 12 x 8"),
        (lora(12, 8), (8, 12), "the LoRA's change is 12 x 8"),
        (lora(12, 8) | {"lora_up.weight": torch.ones(12, 3)}, LINEAR, "the LoRA's factors are (12, 3) and (2, 8)"),
        (TUCKER, LINEAR, "the LoRA's change is 12 x 72"),
        (LOHA, (24, 4), "the LoRA's change is 12 x 8"),
        (LOHA | shapes(hada_w2_b=(3, 9)), LINEAR, "the LoRA's change is 12 x 9"),
        (LOHA_TUCKER, (12, 8, 5, 5), "the LoRA's change is 12 x 72"),
        (LOKR, (36, 8), "the LoRA's change is 12 x 8"),
        (LOKR_KERNEL, LINEAR, "the LoRA's change is 12 x 72"),
        (LOKR_TUCKER, LINEAR, "the LoRA's change is 12 x 72"),
        (LOKR_PART, (13, 8), "the LoRA's change is 24 x 8"),
        (GLORA, (12, 9), "the LoRA's change is 12 x 8"),
        (OLD_GLORA, (13, 8), "the LoRA's change is 12 x 8"),
        (OFT, (16, 8), "the LoRA turns 12 rows"),
        # Two strides of 4 do not divide 12 rows into pairs.
        (shapes(oft_blocks=(2, 3, 4, 4)), LINEAR, "the LoRA turns 12 rows"),
        (DORA_ROWS, (12, 9), "the LoRA's change is 12 x 8"),
        (lora(12, 8) | shapes(dora_scale=(7, 1)), LINEAR, "the LoRA's dora_scale is (7, 1)"),
        (lora(12, 8) | shapes(dora_scale=(12,)), LINEAR, "the LoRA's dora_scale is (12,)"),
        (PADDED, (12, 17), "the LoRA pads it to (12, 16)"),
        (PADDED | lora(12, 8), LINEAR, "the LoRA's change is 12 x 8"),
    ],
)
def test_what_does_not_fit_is_told(tensors, shape, problem):
    assert misfit(tensors, shape) == problem
