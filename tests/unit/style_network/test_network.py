"""The style networks against onnxruntime, and every promise of stylize()."""

import numpy as np
import onnxruntime
import pytest
import torch
from skimage import data

from delta.style_network import files as style_network_files
from delta.style_network.files import PICTURE_NETWORK, TABLE_NETWORK, load_bundled, load_network, save_network
from delta.style_network.network import Strength, StyleNetwork, stylize
from delta.style_network.params import StyleParams, extend
from delta.style_network.sheet import style_sheet
from delta.style_network.vector_files import load_style, save_style


def photo(name: str) -> torch.Tensor:
    return torch.from_numpy(getattr(data, name)().copy()).float()[None] / 255


def session(file: str, optimise: bool = True) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    path = style_network_files.bundled_folder() / file
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def onnx_styled(runtime: onnxruntime.InferenceSession, image: torch.Tensor, weights: np.ndarray) -> torch.Tensor:
    inputs = {"image": image.movedim(-1, 1).contiguous().numpy(), "style_weights": weights.astype(np.float32)}
    return torch.from_numpy(runtime.run(None, inputs)[0]).movedim(1, -1)


@pytest.fixture(scope="module")
def table() -> StyleNetwork:
    return load_bundled(TABLE_NETWORK)


@pytest.fixture(scope="module")
def any_picture() -> StyleNetwork:
    return load_bundled(PICTURE_NETWORK)


@pytest.fixture(scope="module")
def multistyle() -> onnxruntime.InferenceSession:
    return session("multistyle26.onnx")


@pytest.fixture(scope="module")
def small_photo() -> torch.Tensor:
    return photo("astronaut")[:, 40:236, 150:386].contiguous()


def pick(network: StyleNetwork, *indices: int, normalise: bool = True) -> StyleParams:
    params = None
    for index in indices:
        params = extend(params, network.style(index), network.fingerprint, normalise)
    return params


@pytest.mark.parametrize("index", range(26))
def test_every_style_on_a_real_photo_matches_onnxruntime(table, multistyle, index):
    image = photo("astronaut")
    expected = onnx_styled(multistyle, image, np.eye(26)[index])
    assert (stylize(table, image, pick(table, index)) - expected).abs().max() < 1e-3


def test_a_mix_is_the_weighted_mean_of_gamma_and_beta(table, multistyle, small_photo):
    weights = np.zeros(26)
    weights[[3, 12]] = 0.5
    expected = onnx_styled(multistyle, small_photo, weights)
    assert (stylize(table, small_photo, pick(table, 3, 12)) - expected).abs().max() < 1e-3


@pytest.mark.parametrize("size", [(8, 8), (9, 31), (37, 50), (101, 64)])
def test_odd_sizes_are_reflect_padded_and_cropped(table, multistyle, size):
    height, width = size
    image = photo("chelsea")[:, :height, :width]
    padded = torch.nn.functional.pad(image.movedim(-1, 1), (0, -width % 4, 0, -height % 4), mode="reflect").movedim(
        1, -1
    )
    expected = onnx_styled(multistyle, padded, np.eye(26)[7])[:, :height, :width]
    assert (stylize(table, image, pick(table, 7)) - expected).abs().max() < 1e-3


def test_strips_give_the_picture_of_the_whole(table):
    image = photo("astronaut")
    whole = stylize(table, image, pick(table, 19))
    strips = stylize(table, image, pick(table, 19), pixel_budget=40_000)
    assert (strips - whole).abs().max() < 1e-4


def test_strips_with_regions_give_the_picture_of_the_whole(table):
    image, mask = photo("astronaut"), torch.zeros(1, 512, 512)
    mask[:, :200, 100:] = 1
    mask[:, 200:260] = 0.3
    arguments = {"mask": mask, "second": pick(table, 3)}
    whole = stylize(table, image, pick(table, 19), **arguments)
    strips = stylize(table, image, pick(table, 19), pixel_budget=40_000, **arguments)
    assert (strips - whole).abs().max() < 2e-4


def test_each_region_is_painted_as_if_it_were_alone(table):
    """Masked statistics: the inside of each half is what painting that half by itself gives."""
    image, mask = photo("astronaut"), torch.zeros(1, 512, 512)
    mask[..., :256] = 1
    both = stylize(table, image, pick(table, 19), mask=mask, second=pick(table, 3))
    left, right = stylize(table, image[:, :, :256], pick(table, 19)), stylize(table, image[:, :, 256:], pick(table, 3))
    assert (both[:, :, :200] - left[:, :, :200]).abs().mean() < 0.02
    assert (both[:, :, 312:] - right[:, :, 56:]).abs().mean() < 0.02
    # With the statistics of the whole picture the halves differ by several times that.
    whole = stylize(table, image, pick(table, 19))
    assert (whole[:, :, :200] - left[:, :, :200]).abs().mean() > 0.05


def test_a_mask_of_one_value_is_a_single_style(table, small_photo):
    first, second = pick(table, 19), pick(table, 3)
    ones = torch.ones(1, *small_photo.shape[1:3])
    assert (
        stylize(table, small_photo, first, mask=ones, second=second) - stylize(table, small_photo, first)
    ).abs().max() < 1e-4
    zeros = stylize(table, small_photo, first, mask=ones * 0, second=second)
    assert (zeros - stylize(table, small_photo, second)).abs().max() < 1e-4


def test_a_mask_alone_keeps_the_picture_where_it_is_black(table, small_photo):
    mask = torch.zeros(1, *small_photo.shape[1:3])
    mask[..., :100] = 1
    painted = stylize(table, small_photo, pick(table, 19), mask=mask)
    assert torch.equal(painted[:, :, 100:], small_photo[:, :, 100:])
    assert (painted - small_photo)[:, :, :100].abs().mean() > 0.05
    assert torch.equal(stylize(table, small_photo, pick(table, 19), mask=mask * 0), small_photo)


def test_strength_zero_is_the_mean_of_the_styles(table, small_photo):
    mean = stylize(table, small_photo, pick(table, *range(26)))
    weakest = stylize(table, small_photo, pick(table, 19), Strength(0.0))
    assert (weakest - mean).abs().max() < 1e-4
    assert (stylize(table, small_photo, pick(table, 19), Strength(1.0)) - mean).abs().mean() > 0.05


def test_stages_add_up_to_the_style(table, small_photo):
    """Late norms alone already move the picture; all stages at once are the full style."""
    full = stylize(table, small_photo, pick(table, 19))
    mean = stylize(table, small_photo, pick(table, 19), Strength(0.0))
    late = stylize(table, small_photo, pick(table, 19), Strength(1.0, 0.0, 0.0, 1.0))
    early = stylize(table, small_photo, pick(table, 19), Strength(1.0, 1.0, 0.0, 0.0))
    assert (late - full).abs().mean() < 0.9 * (mean - full).abs().mean()
    assert (early - mean).abs().mean() < (late - mean).abs().mean()


def test_stage_and_style_strength_together_stay_in_range(table, small_photo):
    most = stylize(table, small_photo, pick(table, 19), Strength(1.5))
    beyond = stylize(table, small_photo, pick(table, 19), Strength(1.5, 1.5, 1.5, 1.5))
    assert torch.equal(most, beyond)


def test_image_blend(table, small_photo):
    half = stylize(table, small_photo, pick(table, 19), image_blend=0.5)
    assert torch.allclose(half, (stylize(table, small_photo, pick(table, 19)) + small_photo) / 2, atol=1e-6)


def test_a_batch_is_painted_picture_by_picture(table, small_photo):
    batch = torch.cat([small_photo, small_photo.flip(2)])
    steps = []
    painted = stylize(table, batch, pick(table, 19), on_step=lambda done, total: steps.append((done, total)))
    assert torch.equal(painted[:1], stylize(table, small_photo, pick(table, 19)))
    assert torch.equal(painted[1:], stylize(table, small_photo.flip(2), pick(table, 19)))
    assert steps[-1] == (36, 36) and len(steps) == 36


def test_grey_and_alpha_pictures(table, small_photo):
    grey = small_photo.mean(-1, keepdim=True)
    assert torch.equal(stylize(table, grey, pick(table, 1)), stylize(table, grey.expand(-1, -1, -1, 3), pick(table, 1)))
    alpha = torch.cat([small_photo, grey], dim=-1)
    assert torch.equal(stylize(table, alpha, pick(table, 1)), stylize(table, small_photo, pick(table, 1)))


def test_a_flat_picture_stays_finite(table):
    painted = stylize(table, torch.full((1, 64, 64, 3), 0.5), pick(table, 19))
    assert torch.isfinite(painted).all()


def test_cancel_stops_the_work(table, small_photo):
    def cancel(done: int, total: int) -> None:
        if done == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        stylize(table, small_photo, pick(table, 19), on_step=cancel)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(1, 1, 1, 3), "1x1 pixels.*at least 8.*Upscale"),
        (torch.full((1, 32, 32, 3), float("nan")), "NaN"),
        (torch.zeros(32, 32, 3), "Connect an IMAGE: .batch, height, width"),
        (torch.zeros(1, 32, 32, 2), "Connect an IMAGE: .batch, height, width"),
    ],
)
def test_bad_pictures_are_refused(table, image, message):
    with pytest.raises(ValueError, match=message):
        stylize(table, image, pick(table, 0))


def test_bad_requests_are_refused(table, any_picture, small_photo):
    with pytest.raises(ValueError, match="styles 0 to 25; there is no style 26"):
        table.style(26)
    with pytest.raises(ValueError, match="takes its style from a picture"):
        any_picture.style(0)
    with pytest.raises(ValueError, match="cannot take one from a picture"):
        table.style_from_image(small_photo, "picture")
    with pytest.raises(ValueError, match="another style network"):
        stylize(any_picture, small_photo, pick(table, 0))
    with pytest.raises(ValueError, match="needs a mask"):
        stylize(table, small_photo, pick(table, 0), second=pick(table, 1))
    with pytest.raises(ValueError, match="3 masks for a batch of 1"):
        stylize(table, small_photo, pick(table, 0), mask=torch.ones(3, 8, 8))
    with pytest.raises(ValueError, match="mask holds NaN"):
        stylize(table, small_photo, pick(table, 0), mask=torch.full((1, 8, 8), float("nan")))


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "immunohistochemistry", "rocket"])
def test_the_float_style_vector_matches_the_unoptimised_graph(any_picture, name):
    side = min(photo(name).shape[1:3])
    square = photo(name)[:, :side, :side].movedim(-1, 1)
    square = (
        torch.nn.functional.interpolate(square, (256, 256), mode="bicubic", antialias=True).clamp(0, 1).movedim(1, -1)
    )
    expected = session("arbitrary_predict.onnx", optimise=False).run(None, {"style_image": square.numpy()})[0]
    vector = any_picture.style_from_image(square, name).vector
    assert torch.cosine_similarity(vector, torch.from_numpy(expected).flatten(), dim=0) > 0.995


def test_the_float_any_picture_network_is_near_its_int8_graph(any_picture):
    image = photo("astronaut")[:, 64:448, 64:448].contiguous()
    style = any_picture.style_from_image(photo("immunohistochemistry"), "picture")
    runtime = session("arbitrary_transform.onnx", optimise=False)
    inputs = {"content_image": image.numpy(), "mobilenet_conv/Conv/BiasAdd": style.vector.view(1, 1, 1, 100).numpy()}
    expected = torch.from_numpy(runtime.run(None, inputs)[0])
    painted = stylize(any_picture, image, StyleParams(any_picture.fingerprint, (style,)))
    assert (painted - expected).abs().mean() < 0.03


def test_a_style_picture_of_any_shape_and_a_batch(any_picture):
    tall = any_picture.style_from_image(photo("coffee")[:, :, :90], "tall").vector
    wide = any_picture.style_from_image(photo("coffee")[:, :90], "wide").vector
    same_size = torch.nn.functional.interpolate(photo("coffee")[:, :, :90].movedim(-1, 1), (90, 600)).movedim(1, -1)
    batch = any_picture.style_from_image(torch.cat([same_size, photo("coffee")[:, :90]]), "both").vector
    assert tall.shape == wide.shape == batch.shape == (100,)
    expected = (any_picture.style_from_image(same_size, "one").vector + wide) / 2
    assert torch.allclose(batch, expected, atol=1e-6)


def test_strength_zero_of_a_picture_style_is_the_pictures_own(any_picture, small_photo):
    own = extend(None, any_picture.style_from_image(small_photo, "own"), any_picture.fingerprint)
    other = extend(None, any_picture.style_from_image(photo("coffee"), "other"), any_picture.fingerprint)
    weakest = stylize(any_picture, small_photo, other, Strength(0.0))
    assert (weakest - stylize(any_picture, small_photo, own)).abs().max() < 1e-4


@pytest.mark.parametrize("name", [TABLE_NETWORK, PICTURE_NETWORK])
def test_a_saved_network_paints_the_same(tmp_path, small_photo, name):
    network = load_bundled(name)
    save_network(network, tmp_path / "saved.safetensors")
    loaded = load_network(tmp_path / "saved.safetensors")
    assert loaded.fingerprint == network.fingerprint and loaded.style_names == network.style_names
    style = network.style(5) if network.style_names else network.style_from_image(small_photo, "picture")
    again = loaded.style(5) if loaded.style_names else loaded.style_from_image(small_photo, "picture")
    before = stylize(network, small_photo, StyleParams(network.fingerprint, (style,)))
    assert (before - stylize(loaded, small_photo, StyleParams(loaded.fingerprint, (again,)))).abs().max() < 1e-4
    with pytest.raises(FileExistsError, match="nothing was written"):
        save_network(network, tmp_path / "saved.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["saved.safetensors"]


def fast_neural_style_state() -> dict[str, torch.Tensor]:
    """A state dict with the names and shapes of PyTorch's fast-neural-style example, two residual blocks."""
    generator = torch.Generator().manual_seed(7)
    shapes = {"conv1": (8, 3, 9), "conv2": (12, 8, 3), "conv3": (16, 12, 3)}
    shapes |= {f"res{b}.conv{h}": (16, 16, 3) for b in (1, 2) for h in (1, 2)}
    shapes |= {"deconv1": (12, 16, 3), "deconv2": (8, 12, 3), "deconv3": (3, 8, 9)}
    state = {}
    for name, (out, inp, side) in shapes.items():
        state[f"{name}.conv2d.weight"] = (
            torch.randn(out, inp, side, side, generator=generator) * (inp * side * side) ** -0.5
        )
        state[f"{name}.conv2d.bias"] = torch.randn(out, generator=generator)
    norms = {"in1": 8, "in2": 12, "in3": 16, "in4": 12, "in5": 8}
    norms |= {f"res{b}.in{h}": 16 for b in (1, 2) for h in (1, 2)}
    for name, channels in norms.items():
        state[f"{name}.weight"] = 1 + torch.randn(channels, generator=generator) * 0.3
        state[f"{name}.bias"] = torch.randn(channels, generator=generator)
        state[f"{name}.running_mean"] = torch.zeros(channels)
    state["deconv3.conv2d.weight"] *= 40
    state["deconv3.conv2d.bias"] += 128
    return state


def fast_neural_style_reference(state: dict[str, torch.Tensor], image: torch.Tensor) -> torch.Tensor:
    """The network of the example, written out with the plain library calls."""
    functional = torch.nn.functional

    def conv(x, name, stride=1, upsample=None):
        weight = state[f"{name}.conv2d.weight"]
        if upsample:
            x = functional.interpolate(x, scale_factor=upsample, mode="nearest")
        x = functional.pad(x, [weight.shape[-1] // 2] * 4, mode="reflect")
        return functional.conv2d(x, weight, state[f"{name}.conv2d.bias"], stride=stride)

    def norm(x, name):
        return functional.instance_norm(x, weight=state[f"{name}.weight"], bias=state[f"{name}.bias"])

    x = image.movedim(-1, 1) * 255
    for number, stride in ((1, 1), (2, 2), (3, 2)):
        x = functional.relu(norm(conv(x, f"conv{number}", stride), f"in{number}"))
    for block in (1, 2):
        y = functional.relu(norm(conv(x, f"res{block}.conv1"), f"res{block}.in1"))
        x = x + norm(conv(y, f"res{block}.conv2"), f"res{block}.in2")
    for number in (1, 2):
        x = functional.relu(norm(conv(x, f"deconv{number}", upsample=2), f"in{number + 3}"))
    return (conv(x, "deconv3") / 255).clamp(0, 1).movedim(1, -1)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_a_fast_neural_style_network_loads_and_paints(tmp_path, small_photo, suffix):
    from safetensors.torch import save_file

    state, path = fast_neural_style_state(), tmp_path / f"mosaic.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    network = load_network(path)
    style = pick(network, 0)
    expected = fast_neural_style_reference(state, small_photo)
    assert (stylize(network, small_photo, style) - expected).abs().max() < 1e-3
    assert (stylize(network, small_photo, style, pixel_budget=9_000) - expected).abs().max() < 1e-3
    with pytest.raises(ValueError, match="single style.*image blend"):
        stylize(network, small_photo, style, Strength(0.5))


def test_files_that_are_no_style_network_are_refused(tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(FileNotFoundError, match="missing.safetensors does not exist"):
        load_network(tmp_path / "missing.safetensors")
    save_file({"lora_unet_x.lora_up.weight": torch.ones(2, 2)}, tmp_path / "lora.safetensors")
    with pytest.raises(ValueError, match="lora.safetensors is not a style network.*lora_unet_x"):
        load_network(tmp_path / "lora.safetensors")
    whole = (tmp_path / "lora.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-4])
    with pytest.raises(ValueError, match="cut.safetensors is not a complete safetensors file"):
        load_network(tmp_path / "cut.safetensors")
    (tmp_path / "text.pth").write_text("not a pickle")
    with pytest.raises(ValueError, match="text.pth cannot be read safely"):
        load_network(tmp_path / "text.pth")
    torch.save({"epoch": 3}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="other.pth contains no plain state dict"):
        load_network(tmp_path / "other.pth")
    state = fast_neural_style_state()
    state["in1.weight"][2] = float("nan")
    save_file(state, tmp_path / "nan.safetensors")
    with pytest.raises(ValueError, match="nan.safetensors: the tensor in1.weight holds NaN"):
        load_network(tmp_path / "nan.safetensors")
    del state["in1.weight"]
    save_file(state, tmp_path / "partial.safetensors")
    with pytest.raises(ValueError, match="partial.safetensors has the names of .* lacks in1.weight"):
        load_network(tmp_path / "partial.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"contract_strides": ""}, "invalid literal"),
        ({"contract_strides": "0,2,2"}, "shrinks the picture 0 times"),
        ({"expand_upsample": "2,1,1"}, "shrinks the picture 4 times and enlarges it 2 times"),
        ({"expand_upsample": "2"}, "lacks list index"),
        ({"norm_layers": "contract.0"}, "nothing uses contract.1.beta"),
        ({"norm_layers": "contract.9"}, "there is no layer contract.9"),
        ({"style_names": "[1"}, "Expecting"),
        ({"style_names": '["one"]'}, "tables are"),
        ({"output": "tanh"}, "its output is tanh"),
        ({"res.3.1.weight": None}, "nothing uses|there is no layer res.3.1"),
        ({"contract.1.gamma": None}, "it lacks 'contract.1.gamma'"),
        ({"contract.1.weight": torch.ones(32, 31, 3, 3)}, "contract.1 is .32, 31, 3, 3. after 32 channels"),
        ({"extra": torch.ones(1)}, "nothing uses extra"),
    ],
)
def test_layouts_that_do_not_fit_together_are_refused(tmp_path, table, change, message):
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    save_network(table, tmp_path / "good.safetensors")
    with safe_open(tmp_path / "good.safetensors", framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(tmp_path / "good.safetensors")
    for name, value in change.items():
        if isinstance(value, str):
            metadata[name] = value
        elif value is None:
            del tensors[name]
        else:
            tensors[name] = value
    save_file(tensors, tmp_path / "bad.safetensors", metadata)
    with pytest.raises(ValueError, match=f"bad is not a valid style network: .*({message})"):
        load_network(tmp_path / "bad.safetensors")


def test_a_network_in_half_precision_paints_alike(tmp_path, any_picture, small_photo):
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    save_network(any_picture, tmp_path / "full.safetensors")
    with safe_open(tmp_path / "full.safetensors", framework="pt") as file:
        metadata = file.metadata()
    half = {name: tensor.half() for name, tensor in load_file(tmp_path / "full.safetensors").items()}
    save_file(half, tmp_path / "half.safetensors", metadata)
    network = load_network(tmp_path / "half.safetensors")
    style = extend(None, network.style_from_image(small_photo, "picture"), network.fingerprint)
    original = extend(None, any_picture.style_from_image(small_photo, "picture"), any_picture.fingerprint)
    difference = stylize(network, small_photo, style) - stylize(any_picture, small_photo, original)
    assert difference.abs().mean() < 0.01


def test_a_mask_on_a_flat_corner_leaves_the_rest_of_the_picture_alone(table):
    image, mask = photo("astronaut"), torch.zeros(1, 512, 512)
    image[:, :150, :150] = 1
    mask[:, 20:120, 20:120] = 1
    for index in (3, 19):
        painted = stylize(table, image, pick(table, index), mask=mask)
        assert torch.isfinite(painted).all()
        assert torch.equal(painted[:, 150:], image[:, 150:])


def test_a_thin_style_picture_is_not_blown_up(any_picture):
    vector = any_picture.style_from_image(
        torch.rand(1, 1, 200, 3, generator=torch.Generator().manual_seed(1)), "thin"
    ).vector
    assert vector.shape == (100,) and torch.isfinite(vector).all()


def test_writing_never_replaces_a_file_that_appeared_meanwhile(tmp_path):
    from delta.files.tensor_files import write_tensors

    path = tmp_path / "late.safetensors"
    with pytest.raises(FileExistsError, match="nothing was written"):
        write_tensors(path, {"a": torch.ones(2)}, {}, check=lambda written: path.write_text("someone else's"))
    assert path.read_text() == "someone else's" and [p.name for p in tmp_path.iterdir()] == ["late.safetensors"]


def test_a_style_file_holds_the_vector_and_paints_the_same(tmp_path, table, any_picture, small_photo):
    from safetensors.torch import save_file

    mix = extend(None, any_picture.style_from_image(photo("coffee"), "a", 1.0), any_picture.fingerprint)
    mix = extend(mix, any_picture.style_from_image(photo("rocket"), "b", 3.0), any_picture.fingerprint)
    save_style(mix, tmp_path / "mix.safetensors")
    loaded = load_style(tmp_path / "mix.safetensors", any_picture)
    assert loaded.vector.shape == (100,) and (tmp_path / "mix.safetensors").stat().st_size < 1000
    before = stylize(any_picture, small_photo, mix)
    after = stylize(any_picture, small_photo, StyleParams(any_picture.fingerprint, (loaded,)))
    assert (before - after).abs().max() < 1e-4
    save_style(pick(table, 3, 12), tmp_path / "table.safetensors")
    gamma, beta = pick(table, 3, 12).vectors()
    loaded = load_style(tmp_path / "table.safetensors", table)
    assert torch.equal(loaded.gamma, gamma) and torch.equal(loaded.beta, beta) and loaded.vector is None
    save_file(
        {"gamma": gamma[:9], "beta": beta},
        tmp_path / "short.safetensors",
        {"format": "styledelta.style", "network": table.fingerprint},
    )
    with pytest.raises(ValueError, match="short.safetensors is incomplete.*495 channels"):
        load_style(tmp_path / "short.safetensors", table)
    with pytest.raises(ValueError, match="table.safetensors was saved for another style network"):
        load_style(tmp_path / "table.safetensors", any_picture)


def test_the_sheet_shows_every_style(table):
    sheet = style_sheet(table, photo("coffee"), tile_size=64, columns=7)
    assert sheet.shape == (1, 8 + 4 * (43 + 23 + 8), 8 + 7 * (64 + 8), 3)
    tiles = [sheet[0, 8 + r * 74 + 23 : 8 + r * 74 + 66, 8 + c * 72 : 72 + c * 72] for r in range(4) for c in range(7)][
        :27
    ]
    distances = [(a - b).abs().mean() for i, a in enumerate(tiles) for b in tiles[:i]]
    assert min(distances) > 0.005
