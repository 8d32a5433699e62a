"""The difference of two models, with models that are tensors in memory."""

import math
import os
import time
from collections.abc import Mapping

import pytest
import torch

from delta.extraction.extract import Difference, MemoryStore, Settings, extract, noise_rank
from delta.extraction.job import extract_job
from delta.extraction.pair import Pair, compare
from delta.extraction.store import FolderStore, open_store
from delta.files.stored_weight import StoredWeight
from delta.linear_algebra.noise import rounding_variance
from delta.linear_algebra.rank import RankChoice

NAMES = [f"diffusion_model.double_blocks.{n}.img_attn.proj" for n in range(3)]


class Tensors:
    """A model in memory that counts what is read of it."""

    architecture = "Flux"

    def __init__(self, name: str, tensors: Mapping[str, torch.Tensor], variance: float = 0.0):
        self.name, self.tensors, self.variance, self.reads = name, tensors, variance, 0
        self.shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}

    def read(self, name: str) -> StoredWeight:
        self.reads += 1
        return StoredWeight(self.tensors[name].clone(), self.variance)


def spectrum_matrix(rows: int, columns: int, values: torch.Tensor, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    left, right = (torch.linalg.qr(torch.randn(n, len(values), generator=generator))[0] for n in (rows, columns))
    return (left * values) @ right.T


def pair(changes: Mapping[str, torch.Tensor], variance: float = 0.0) -> Pair:
    base = {
        name: torch.randn(change.shape, generator=torch.Generator().manual_seed(9)) for name, change in changes.items()
    }
    tuned = {name: base[name] + change for name, change in changes.items()}
    return compare(Tensors("tuned", tuned, variance), Tensors("base", base, variance))


def settings(mode: str = "full", value: float = 0.0, **others) -> Settings:
    return Settings(RankChoice(mode, value), **({"ignore_noise": True} | others))


def weights(*values: torch.Tensor, rows: int = 40, columns: int = 30) -> dict[str, torch.Tensor]:
    return {f"{name}.weight": spectrum_matrix(rows, columns, v, n) for n, (name, v) in enumerate(zip(NAMES, values))}


def test_each_layer_is_the_best_of_its_rank():
    changes = weights(torch.tensor([4.0, 2.0, 1.0]))
    found = extract(pair(changes), settings("fixed", 2)).differences[f"{NAMES[0]}.weight"]
    assert found.low_rank.rank == 2
    assert found.residual == pytest.approx(1.0, rel=1e-4)
    assert found.norm == pytest.approx(math.sqrt(21), rel=1e-5)


def test_biases_and_norms_are_kept_whole_or_left_out():
    changes = weights(torch.ones(2)) | {
        f"{NAMES[0]}.bias": torch.ones(40),
        "diffusion_model.norm.weight": torch.ones(5),
    }
    layers = extract(pair(changes), settings()).layers
    assert torch.allclose(layers[NAMES[0]].bias, torch.ones(40), atol=1e-6)
    assert torch.allclose(layers["diffusion_model.norm"].full, torch.ones(5), atol=1e-6)
    left = extract(pair(changes), settings(biases_and_norms=False))
    assert left.layers[NAMES[0]].bias is None and "diffusion_model.norm" not in left.layers
    assert set(left.skipped.values()) == {"biases and norms are switched off"}


def test_parameters_that_loaders_do_not_apply_are_named():
    changes = weights(torch.ones(1)) | {"diffusion_model.blocks.0.modulation": torch.ones(1, 6, 4)}
    assert extract(pair(changes), settings()).skipped == {
        "diffusion_model.blocks.0.modulation": "LoRA loaders do not apply changes to such parameters"
    }


def test_convolutions_may_have_a_rank_of_their_own():
    kernel = torch.randn(12, 8, 3, 3, generator=torch.Generator().manual_seed(1))
    changes = weights(torch.ones(6)) | {"diffusion_model.conv.weight": kernel}
    found = extract(pair(changes), settings("fixed", 4, conv=RankChoice("fixed", 2))).layers
    assert found[NAMES[0]].low_rank.rank == 4
    assert (
        found["diffusion_model.conv"].low_rank.rank == 2
        and found["diffusion_model.conv"].low_rank.shape == kernel.shape
    )


def test_a_size_is_spent_where_it_keeps_most_and_looks_deeper_there():
    steep, flat = 10 * torch.tensor(0.5) ** torch.arange(24), torch.full((24,), 5.0)
    changes = weights(steep, flat, torch.full((24,), 0.01))
    megabytes = 30 * 70 * 2 / 1e6
    found = extract(pair(changes), settings("size", megabytes)).differences
    ranks = {name: difference.low_rank.rank for name, difference in found.items()}
    assert ranks[f"{NAMES[1]}.weight"] == 24
    assert 2 <= ranks[f"{NAMES[0]}.weight"] <= 6
    assert sum(ranks.values()) == 30


def test_what_is_given_no_rank_counts_as_lost():
    changes = weights(torch.tensor([3.0]), torch.tensor([1.0]), torch.tensor([1.0]))
    job = extract_job(pair(changes), settings("size", 70 * 2 / 1e6))
    assert "left out, given no rank: 2" in job.report
    assert f"overall relative error: {math.sqrt(2 / 11):.3g}" in job.report


def deep_pair() -> Pair:
    """Three weights, of which one needs more directions than the rank that a size looks at first."""
    little = torch.full((3,), 0.01)
    return pair(weights(torch.full((100,), 5.0), little, little, rows=200, columns=200))


DEEP = settings("size", 60 * 400 * 2 / 1e6)


def test_a_size_computes_more_of_a_weight_that_takes_all_that_was_looked_at():
    found = extract(deep_pair(), DEEP).differences[f"{NAMES[0]}.weight"]
    assert found.low_rank.rank == 60 < len(found.values)


def test_a_size_can_be_cancelled_while_it_computes_more():
    steps = []

    def stop_at_the_second_end(done: int, total: int) -> None:
        steps.append(done)
        if steps.count(total) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        extract(deep_pair(), DEEP, on_step=stop_at_the_second_end)


def test_ranks_end_at_the_rounding():
    change = weights(torch.tensor([8.0, 4.0]), rows=200, columns=200)
    noise = 0.02 * torch.randn(200, 200, generator=torch.Generator().manual_seed(3))
    noisy = {name: weight + noise for name, weight in change.items()}
    found = extract(pair(noisy, 0.02**2 / 2), settings("full", ignore_noise=False)).differences
    difference = found[f"{NAMES[0]}.weight"]
    assert difference.low_rank.rank == 2 == noise_rank(difference)


def test_what_is_all_rounding_is_refused_unless_forced():
    noise = {f"{NAMES[0]}.weight": 0.02 * torch.randn(200, 200, generator=torch.Generator().manual_seed(3))}
    with pytest.raises(
        ValueError, match="tuned and base differ by 4, and the rounding .* accounts for 4: no direction"
    ):
        extract(pair(noise, 0.02**2 / 2), settings("fixed", 8, ignore_noise=False))
    assert extract(pair(noise, 0.02**2 / 2), settings("fixed", 8)).layers


def test_ranks_that_leave_nothing_are_refused():
    with pytest.raises(ValueError, match="The ranks leave nothing of tuned minus base. Choose a higher"):
        extract(pair(weights(torch.ones(2))), settings("size", 1e-5))


def test_equal_models_are_refused():
    with pytest.raises(ValueError, match="have the same weights"):
        extract(pair({f"{NAMES[0]}.weight": torch.zeros(4, 4)}), settings())


def test_finished_weights_are_not_read_again():
    given, store = pair(weights(*[torch.ones(2)] * 3)), MemoryStore()

    def stop(done: int, total: int) -> None:
        if 3 * done >= 2 * total:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        extract(given, settings(), store, stop)
    assert given.tuned.reads == 2
    assert len(extract(given, settings(), store).layers) == 3
    assert given.tuned.reads == 3


def test_the_job_names_layers_as_kohya_and_writes_the_recipe():
    job = extract_job(pair(weights(torch.ones(3))), settings("fixed", 2))
    assert "lora_unet_double_blocks_0_img_attn_proj.lora_up.weight" in job.model
    assert '"mode": "fixed"' in job.model.metadata["styledelta.recipe"]
    assert "1 weights as factors, 0 biases and norms whole, 0 unchanged" in job.report


def test_a_unet_of_unusual_depth_keeps_the_names_of_comfyui():
    name = "diffusion_model.input_blocks.2.0.op"
    given = pair(
        {
            f"{name}.weight": torch.ones(4, 4, 3, 3),
            "diffusion_model.input_blocks.1.0.in_layers.2.weight": torch.ones(4, 4),
        }
    )
    # Blocks are numbered as ComfyUI numbers them, behind kohya's beginning.
    assert "lora_unet_input_blocks_2_0_op.lora_up.weight" in extract_job(given, settings()).model


def difference() -> Difference:
    return extract(pair(weights(torch.tensor([3.0, 1.0]))), settings("fixed", 1)).differences[f"{NAMES[0]}.weight"]


def test_a_stored_difference_comes_back_from_another_run(tmp_path):
    given = difference()
    FolderStore(tmp_path, {"run": 1}).put("a", given)
    again = FolderStore(tmp_path, {"run": 1})
    assert len(again) == 1
    found = again.get("a")
    assert torch.equal(found.low_rank.up, given.low_rank.up) and torch.equal(found.values, given.values)
    assert found._replace(low_rank=None, values=None) == given._replace(low_rank=None, values=None)
    assert again.get("b") is None and FolderStore(tmp_path, {"run": 2}).get("a") is None


def test_a_damaged_difference_is_computed_again(tmp_path):
    store = FolderStore(tmp_path, {})
    store.put("a", difference())
    (file,) = store.folder.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    assert store.get("a") is None
    store.put("a", difference())
    assert store.get("a") is not None


def test_runs_that_nobody_went_on_with_are_removed(tmp_path):
    old, new = FolderStore(tmp_path, {"run": "old"}), FolderStore(tmp_path, {"run": "new"})
    week_ago = time.time() - 8 * 24 * 3600
    os.utime(old.folder, (week_ago, week_ago))
    FolderStore(tmp_path, {"run": "newest"})
    assert not old.folder.exists() and new.folder.exists()
    new.remove()
    assert not new.folder.exists()


def test_without_a_folder_a_run_stays_in_memory(tmp_path):
    (tmp_path / "file").write_text("")
    assert isinstance(open_store(tmp_path / "file", {}), MemoryStore)


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float8_e4m3fn], ids=str)
def test_rounding_of_uneven_rows_is_told_from_a_change(spread, kind):
    """The rows of trained weights differ in size, and so does the rounding in them."""
    generator = torch.Generator().manual_seed(3)
    rows = torch.exp(spread * torch.randn(256, 1, generator=generator))
    base = {f"{name}.weight": rows * torch.randn(256, 320, generator=generator) for name in NAMES}
    stored = {name: weight.to(kind).float() for name, weight in base.items()}
    variance = rounding_variance(stored[f"{NAMES[0]}.weight"], kind)
    with pytest.raises(ValueError, match="no direction of the difference can be distinguished from noise"):
        extract(compare(Tensors("tuned", base), Tensors("base", stored, variance)), settings(ignore_noise=False))
    change = spectrum_matrix(256, 320, torch.full((3,), 8 * math.sqrt(variance) * 320**0.5 * float(rows.max())), 5)
    tuned = {name: weight + change for name, weight in base.items()}
    found = extract(compare(Tensors("tuned", tuned), Tensors("base", stored, variance)), settings(ignore_noise=False))
    assert [difference.low_rank.rank for difference in found.differences.values()] == [3, 3, 3]
