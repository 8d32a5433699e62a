import pytest
from comfy_server import ComfyServer, Progress, PromptError, ServerError


def picture_prompt(colour: int = 0xFF8000) -> dict:
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 24, "height": 16, "batch_size": 1, "color": colour}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "harness/picture"}},
    }


def failing_prompt() -> dict:
    # The kernel needs a bigger picture than this for its reflected border, which torch refuses.
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 4, "height": 4, "batch_size": 1, "color": 0}},
        "2": {
            "class_type": "ImageBlur",
            "inputs": {"image": ["1", 0], "blur_radius": 31, "sigma": 1.0},
            "_meta": {"title": "Too much blur"},
        },
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
    }


def test_a_prompt_returns_its_picture(server: ComfyServer) -> None:
    outputs = server.run(picture_prompt())
    (picture,) = outputs["2"]["images"]
    assert picture["subfolder"] == "harness"
    assert server.view(**picture).startswith(b"\x89PNG")


def test_progress_names_the_running_nodes(server: ComfyServer) -> None:
    seen: list[Progress] = []
    server.run(picture_prompt(colour=0x112233), on_progress=seen.append)
    assert {(progress.node_id, progress.node_class) for progress in seen} == {("1", "EmptyImage"), ("2", "SaveImage")}


def test_a_refused_prompt_names_the_node_and_the_input(server: ComfyServer) -> None:
    prompt = picture_prompt()
    prompt["1"]["inputs"]["width"] = -5
    prompt["1"]["_meta"] = {"title": "Too narrow"}
    with pytest.raises(PromptError, match='Node 1 \\(EmptyImage "Too narrow"\\): .*width') as caught:
        server.run(prompt)
    assert (caught.value.node_id, caught.value.node_class) == ("1", "EmptyImage")


def test_an_unknown_node_class_is_named(server: ComfyServer) -> None:
    prompt = picture_prompt()
    prompt["1"]["class_type"] = "NoSuchNode"
    with pytest.raises(PromptError, match="NoSuchNode"):
        server.run(prompt)


def test_a_failing_prompt_names_the_node_and_the_queue_goes_on(server: ComfyServer) -> None:
    with pytest.raises(PromptError, match='Node 2 \\(ImageBlur "Too much blur"\\): RuntimeError: .*[Pp]adding'):
        server.run(failing_prompt())
    assert server.run(picture_prompt(colour=0x445566))["2"]["images"]
    assert server.queue() == {"queue_running": [], "queue_pending": []}


def test_an_uploaded_picture_can_be_loaded(server: ComfyServer, tmp_path) -> None:
    source = server.run(picture_prompt(colour=0x778899))["2"]["images"][0]
    path = tmp_path / "harness upload.png"
    path.write_bytes(server.view(**source))
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": server.upload_image(path)}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    assert server.run(prompt)["2"]["images"][0]["type"] == "temp"


def test_the_description_of_a_node(server: ComfyServer) -> None:
    assert server.object_info("EmptyImage")["output"] == ["IMAGE"]
    with pytest.raises(KeyError):
        server.object_info("NoSuchNode")


def test_a_host_that_cannot_start_shows_its_log(server: ComfyServer, tmp_path) -> None:
    log = tmp_path / "server.log"
    with pytest.raises(ServerError, match="unrecognized arguments: --no-such-option"):
        with ComfyServer(server.host_dir, server.base_dir, log, ["--no-such-option"]):
            pass


def test_nodes_run_inside_this_process(host) -> None:
    (image,) = host.node("EmptyImage")().generate(width=8, height=4, batch_size=1, color=0)
    assert tuple(image.shape) == (1, 4, 8, 3)
