"""AdaIN and WCT nodes in the real host: with its latents, its pictures and its samplers."""

import pytest
import torch
from skimage import data

LATENT_NODES = {"StyleDeltaAdaIN": {"window": 0, "per_frame": False}, "StyleDeltaWCT": {"per_frame": False}}
IMAGE_NODES = ["StyleDeltaAdaINImage", "StyleDeltaWCTImage"]


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def photo(name: str) -> torch.Tensor:
    return torch.from_numpy(getattr(data, name)()[None] / 255).float()


def run(host, node_id: str, content, reference, amount: float = 1.0, **inputs):
    return host.node(node_id).execute(content, reference, amount, **LATENT_NODES.get(node_id, {}) | inputs).args[0]


@pytest.mark.parametrize("node_id", LATENT_NODES)
@pytest.mark.parametrize("shape", [(2, 4, 16, 16), (1, 16, 5, 8, 8)], ids=["picture", "video"])
def test_a_latent_takes_the_statistics_and_keeps_the_rest(host, node_id: str, shape: tuple):
    noise_mask = torch.rand(1, 1, 128, 128)
    content = {"samples": random(*shape), "noise_mask": noise_mask, "batch_index": [0, 7]}
    reference = {"samples": 3 * random(1, *shape[1:-1], 24, seed=2) + 5, "batch_index": [3]}
    before = content["samples"].clone(), reference["samples"].clone()
    result = run(host, node_id, content, reference)
    assert result["noise_mask"] is noise_mask and result["batch_index"] == [0, 7]
    assert set(content) == {"samples", "noise_mask", "batch_index"}
    assert torch.equal(content["samples"], before[0]) and torch.equal(reference["samples"], before[1])
    rows = [samples.transpose(0, 1).flatten(1) for samples in (result["samples"], reference["samples"])]
    assert result["samples"].shape == shape
    torch.testing.assert_close(rows[0].mean(1), rows[1].mean(1), rtol=0, atol=1e-4)
    torch.testing.assert_close(rows[0].std(1, correction=0), rows[1].std(1, correction=0), rtol=1e-4, atol=0)
    assert torch.equal(run(host, node_id, content, reference, 0.0)["samples"], before[0])


@pytest.mark.parametrize("node_id", LATENT_NODES)
def test_encoded_photos_through_mask_and_sampler(host, checkpoint, node_id: str):
    """With the masks and the nodes that a user would connect."""
    model, clip = checkpoint
    vae = host.node("CheckpointLoaderSimple")().load_checkpoint("styledelta_demo_sd15.safetensors")[2]
    content, reference = (
        host.node("VAEEncode")().encode(vae, photo(name)[:, :256, :256])[0] for name in ("astronaut", "coffee")
    )
    mask = torch.zeros(1, 256, 256)
    mask[:, :128] = 1
    result = run(host, node_id, content, reference, mask=mask)
    rows = result["samples"].shape[2] // 2
    assert torch.equal(result["samples"][:, :, rows + 1 :], content["samples"][:, :, rows + 1 :])
    assert not torch.equal(result["samples"][:, :, :rows], content["samples"][:, :, :rows])
    conditioning = host.node("CLIPTextEncode")().encode(clip, "")[0]
    sampled = host.node("KSampler")().sample(
        model, 1, 1, 1.0, "euler", "normal", conditioning, conditioning, result, 0.5
    )[0]
    assert torch.isfinite(sampled["samples"]).all() and sampled["samples"].shape == content["samples"].shape


def test_the_window_brings_the_layout(host):
    reference = {"samples": torch.linspace(-5, 5, 32).expand(1, 4, 16, 32) + 0.1 * random(1, 4, 16, 32)}
    result = run(host, "StyleDeltaAdaIN", {"samples": random(1, 4, 24, 24)}, reference, window=5)["samples"]
    assert (result[..., -6:].mean((2, 3)) - result[..., :6].mean((2, 3)) > 5).all()


@pytest.mark.parametrize("node_id", LATENT_NODES)
def test_frames_one_by_one(host, node_id: str):
    content = {"samples": random(1, 16, 3, 12, 12) * torch.tensor([1.0, 2.0, 3.0])[:, None, None]}
    reference = {"samples": random(1, 16, 3, 12, 12, seed=2) + torch.tensor([0.0, 5.0, 10.0])[:, None, None]}
    result = run(host, node_id, content, reference, per_frame=True)["samples"]
    torch.testing.assert_close(result.mean((3, 4)), reference["samples"].mean((3, 4)), rtol=0, atol=1e-4)


@pytest.mark.parametrize("node_id", LATENT_NODES)
def test_an_empty_latent_gives_no_nan(host, node_id: str):
    empty = host.node("EmptyLatentImage")().generate(64, 64)[0]
    other = {"samples": random(1, 4, 8, 8)}
    for pair in ((empty, other), (other, empty), (empty, empty)):
        assert torch.isfinite(run(host, node_id, *pair)["samples"]).all()


@pytest.mark.parametrize("node_id", LATENT_NODES)
def test_latents_that_are_refused(host, node_id: str):
    import comfy.nested_tensor

    good = {"samples": random(3, 4, 8, 8)}
    for samples, message in (
        (random(1, 16, 8, 8), "has 4 channels and the reference latent 16"),
        (random(2, 4, 8, 8), "2 references for 3 latents"),
        (torch.full((1, 4, 8, 8), torch.nan), "reference latent holds NaN"),
        (random(1, 64, 100), "reference latent has the shape"),
        (comfy.nested_tensor.NestedTensor([random(1, 4, 8, 8)]), "reference latent holds several streams"),
    ):
        with pytest.raises(ValueError, match=message):
            run(host, node_id, good, {"samples": samples})


def test_an_even_window_is_refused(host):
    latent = {"samples": random(1, 4, 8, 8)}
    with pytest.raises(ValueError, match="A window of 4 has no centre"):
        run(host, "StyleDeltaAdaIN", latent, latent, window=4)


@pytest.mark.parametrize("node_id", IMAGE_NODES)
def test_a_photo_takes_the_colours_of_another(host, node_id: str):
    content, reference = photo("astronaut"), photo("coffee")
    before = content.clone()
    result = run(host, node_id, content, reference)
    assert result.shape == content.shape and result.min() >= 0 and result.max() <= 1
    assert torch.equal(content, before) and torch.equal(run(host, node_id, content, reference, 0.0), content)
    distance, after = ((pictures.mean((1, 2)) - reference.mean((1, 2))).abs().max() for pictures in (content, result))
    assert after < 0.02 < 0.1 < distance
    # What was brighter is still brighter: the drawing of the photo stays.
    grey = torch.stack([pictures.mean(-1).flatten() for pictures in (content, result)])
    assert torch.corrcoef(grey)[0, 1] > 0.97


@pytest.mark.parametrize("node_id", IMAGE_NODES)
def test_a_batch_of_photos_with_a_mask_and_transparency(host, node_id: str):
    batch = torch.cat([photo("astronaut")[:, ::4, ::4], torch.rand(1, 128, 128, 1)], -1).expand(3, -1, -1, -1)
    mask = torch.zeros(3, 50, 50)
    mask[1] = 1
    result = run(host, node_id, batch, photo("coffee"), mask=mask)
    assert torch.equal(result[0], batch[0]) and torch.equal(result[2], batch[2])
    assert torch.equal(result[..., 3], batch[..., 3])
    torch.testing.assert_close(result[1, ..., :3], run(host, node_id, batch[:1, ..., :3], photo("coffee"))[0])


@pytest.mark.parametrize("node_id", IMAGE_NODES)
def test_cancel_stops_between_the_photos(host, node_id: str):
    import comfy.model_management

    comfy.model_management.interrupt_current_processing()
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        run(host, node_id, torch.rand(2, 8, 8, 3), torch.rand(1, 8, 8, 3))


@pytest.mark.parametrize("node_id", IMAGE_NODES)
def test_photos_that_are_refused(host, node_id: str):
    good = torch.rand(3, 8, 8, 3)
    for reference, message in (
        (torch.rand(2, 8, 8, 3), "2 references for 3 pictures"),
        (torch.full((1, 8, 8, 3), torch.nan), "reference picture holds NaN"),
        (torch.rand(1, 8, 8, 1), "reference picture has the shape"),
    ):
        with pytest.raises(ValueError, match=message):
            run(host, node_id, good, reference)
