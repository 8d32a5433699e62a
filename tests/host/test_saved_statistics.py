"""Statistics of a reference as files, on tiny models through the host's own sampler."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from .matched_models import LAYOUTS, hooks, latent, matched, sampled, watched, wrapped
from .tiny_models import conditioning, sample, tiny_model


@pytest.fixture(scope="module")
def models(host):
    """Tiny models by layout, made once."""
    return {layout: tiny_model(layout) for layout in LAYOUTS}


def save(host, model, layout, folder, **inputs):
    """The outputs of Save Statistics at the noise levels of the two steps; the file is left to the caller."""
    inputs = {"reference": latent(layout), "noise_levels": 2} | inputs
    return host.node("StyleDeltaSaveStatistics").execute(
        model, positive=conditioning(layout, "positive", 0), filename_prefix=f"feature_statistics/{folder}", **inputs
    )


@pytest.fixture
def output(base_dir):
    """The output folder of the statistics, emptied afterwards."""
    folder = base_dir / "output/feature_statistics"
    yield folder
    for path in folder.glob("*"):
        path.unlink()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_saved_statistics_replace_the_reference(host, models, layout, output):
    statistics, path = save(host, models[layout], layout, "test").result
    assert hooks(models[layout]) == 0
    name = path.replace("\\", "/").rsplit("/", 1)[1]
    loaded = host.node("StyleDeltaLoadStatistics").execute(name, 1.0)[0]
    assert loaded.at(1.0).keys() == statistics.at(1.0).keys()
    # The recorded ones belong to the positive conditioning.
    live = sample(matched(host, models[layout], style_fidelity=0.0, reference=latent(layout)), layout)
    saved = sample(matched(host, models[layout], style_fidelity=0.0, statistics=loaded), layout)
    base = sample(models[layout], layout)
    assert (saved - live).norm() < 0.01 * (live - base).norm()


def test_saved_statistics_take_no_pass_of_the_reference_and_are_small(host, models, output):
    _, path = save(host, models["sd15"], "sd15", "test", noise_levels=4).result
    with safe_open(path, "pt") as file:
        assert file.metadata()["model"] == "SD15"
    tensors = load_file(path)
    channels = sum(tensor.shape[-1] for name, tensor in tensors.items() if name.startswith("site."))
    assert len(tensors) == 109 + 2 and (output / path.rsplit("/", 1)[1]).stat().st_size < 4 * 4 * channels + 25_000
    statistics = host.node("StyleDeltaLoadStatistics").execute(path.rsplit("/", 1)[1], 1.0)[0]
    model, calls = watched(matched(host, models["sd15"], statistics=statistics), "out.0")
    sampled(model, "sd15")
    assert [is_reference for is_reference, _, _ in calls] == [False, False]


def test_references_mix_linearly(host, models, output):
    load = host.node("StyleDeltaLoadStatistics").execute
    names = []
    for seed in (7, 8):
        _, path = save(host, models["sd15"], "sd15", f"test_{seed}", reference=latent("sd15", seed)).result
        names.append(path.rsplit("/", 1)[1])
    one, two = (load(name, 1.0)[0] for name in names)
    mix = load(names[1], 1.0, previous=load(names[0], 3.0)[0])[0]
    for name, table in mix.at(1.0).items():
        assert torch.allclose(table, 0.75 * one.at(1.0)[name] + 0.25 * two.at(1.0)[name], atol=1e-5), name
    results = [sample(matched(host, models["sd15"], statistics=s), "sd15") for s in (one, mix, two)]
    assert (results[1] - results[0]).norm() < (results[2] - results[0]).norm()


def test_recording_reports_progress(host, models, output):
    import comfy.utils

    seen, earlier = [], comfy.utils.PROGRESS_BAR_HOOK
    comfy.utils.set_progress_bar_global_hook(lambda value, total, *_, **__: seen.append((value, total)))
    try:
        save(host, models["flux"], "flux", "test", noise_levels=3)
    finally:
        comfy.utils.set_progress_bar_global_hook(earlier)
    assert seen[-1] == (3, 3) and {value for value, _ in seen} <= {1, 2, 3}


def test_cancel_while_recording_writes_nothing(host, models, output):
    import comfy.model_management as management

    def cancel(executor, *arguments, **others):
        management.interrupt_current_processing()
        return executor(*arguments, **others)

    with pytest.raises(management.InterruptProcessingException):
        save(host, wrapped(models["sd15"], cancel), "sd15", "cancelled")
    assert hooks(models["sd15"]) == 0 and not list(output.glob("*cancelled*"))


def test_statistics_of_another_model_are_refused(host, models, output):
    statistics, path = save(host, models["sd15"], "sd15", "test").result
    with pytest.raises(ValueError, match="recorded on SD15 and does not fit the model, SDXL.*Save statistics with"):
        matched(host, models["sdxl"], statistics=statistics)
    _, other = save(host, models["flux"], "flux", "other").result
    load = host.node("StyleDeltaLoadStatistics").execute
    with pytest.raises(ValueError, match="other_00001_.* recorded on Flux and does not fit .*SD15"):
        load(other.rsplit("/", 1)[1], 1.0, previous=load(path.rsplit("/", 1)[1], 1.0)[0])
    cancelling = load(path.rsplit("/", 1)[1], -1.0, previous=statistics)[0]
    with pytest.raises(ValueError, match="add up to zero"):
        matched(host, models["sd15"], statistics=cancelling)


def test_wrong_and_missing_files_are_refused(host, models, base_dir, output):
    load = host.node("StyleDeltaLoadStatistics").execute
    with pytest.raises(FileNotFoundError, match="gone.safetensors is not in .*feature_statistics"):
        load("gone.safetensors", 1.0)
    output.mkdir(exist_ok=True)
    save_file({"lora_unet_x.lora_up.weight": torch.ones(2, 2)}, output / "wrong.safetensors")
    with pytest.raises(ValueError, match="wrong.safetensors was not saved by Save Statistics"):
        load("wrong.safetensors", 1.0)
    with pytest.raises(Exception, match="(?i)outside the output folder"):
        host.node("StyleDeltaSaveStatistics").execute(
            models["sd15"], latent("sd15"), conditioning("sd15", "positive", 0), 2, "../../escaped"
        )
