import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dev


def make_host(folder: Path, requirements: str = "") -> Path:
    folder.mkdir(parents=True)
    for name in ("main.py", "comfyui_version.py"):
        (folder / name).touch()
    (folder / "requirements.txt").write_text(requirements)
    return folder


def test_the_hosts_requirements_lose_only_what_is_pinned_here(tmp_path):
    host = make_host(
        tmp_path / "host",
        "comfyui-frontend-package==1.32.9\ncomfyui_workflow_templates==0.7.25\n\n#non essential:\n"
        "torch\ntorchsde\ntorchvision>=0.1\nTorchAudio\nkornia>=0.7.1  # filters\npydantic~=2.0\n",
    )
    kept = ["comfyui-frontend-package==1.32.9", "torchsde", "kornia>=0.7.1", "pydantic~=2.0"]
    assert dev.host_requirements(host) == kept


def test_torch_is_installed_before_anything_that_wants_it(tmp_path):
    host = make_host(tmp_path / "host", "torchsde\n")
    (tmp_path / "requirements.txt").write_text("onnx\n")
    plan = dev.install_plan(host, tmp_path)
    assert plan[0] == [dev.TORCH]
    assert plan[1] == ["--no-deps", dev.TORCHVISION]
    assert {"torchsde", "onnx"} <= set(plan[2]) and len(plan) == 3


def test_torchaudio_is_installed_for_hosts_that_need_it(tmp_path):
    host = make_host(tmp_path / "host")
    module = host / "comfy/ldm/lightricks/vae/audio_vae.py"
    module.parent.mkdir(parents=True)
    module.touch()
    assert dev.install_plan(host, tmp_path)[-1] == ["--no-deps", dev.TORCHAUDIO]


def test_the_stamp_follows_the_plan():
    assert dev.stamp_of([["a"], ["b"]]) == dev.stamp_of([["a"], ["b"]])
    assert dev.stamp_of([["a"], ["b"]]) != dev.stamp_of([["a", "b"]])


def test_where_comfyui_comes_from(tmp_path):
    enclosing = make_host(tmp_path / "ComfyUI")
    checkout = enclosing / "custom_nodes" / "pack"
    named = make_host(tmp_path / "named")
    env = {"COMFYUI_DIR": str(named)}
    cached = make_host(checkout / ".dev/comfyui" / dev.DEFAULT_TAG)
    newer = make_host(checkout / ".dev/comfyui/v0.8.0")

    assert dev.find_host(None, env, checkout) == named
    assert dev.find_host(None, {}, checkout) == enclosing
    assert dev.find_host("v0.8.0", env, checkout) == newer
    assert dev.find_host("v0.9.0", env, checkout) is None
    (enclosing / "main.py").unlink()
    assert dev.find_host(None, {}, checkout) == cached
    (cached / "main.py").unlink()
    assert dev.find_host(None, {}, checkout) is None


def test_a_comfyui_dir_without_comfyui_is_an_error(tmp_path):
    with pytest.raises(dev.DevError, match="COMFYUI_DIR is .* no main.py"):
        dev.find_host(None, {"COMFYUI_DIR": str(tmp_path)}, tmp_path)


def test_a_wrong_download_is_refused_and_removed(tmp_path):
    wheel = tmp_path / "some.whl"
    wheel.write_bytes(b"content")
    dev.check_sha256(wheel, hashlib.sha256(b"content").hexdigest())
    with pytest.raises(dev.DevError, match="some.whl has sha256"):
        dev.check_sha256(wheel, hashlib.sha256(b"other").hexdigest())
    assert not wheel.exists()


def test_a_link_that_leads_elsewhere_is_replaced(tmp_path):
    old, new, link = tmp_path / "old", tmp_path / "new", tmp_path / "link"
    old.mkdir()
    new.mkdir()
    (old / "keep").touch()
    for target in (old, new, new):
        dev.link_folder(link, target)
        assert link.resolve() == target.resolve()
    assert (old / "keep").exists()


def test_a_failing_command_shows_its_last_lines_and_the_remedy():
    script = "[print('line', i) for i in range(30)]; raise SystemExit('the reason')"
    with pytest.raises(dev.DevError) as caught:
        dev.run_quietly([sys.executable, "-c", script], "do this.")
    assert "do this." in str(caught.value) and "the reason" in str(caught.value)
    assert "line 29" in str(caught.value) and "line 9" not in str(caught.value)


def test_paths_choose_the_suites_and_other_arguments_go_to_all(tmp_path, monkeypatch):
    file = tmp_path / "unit/test_a.py"
    file.parent.mkdir()
    file.touch()
    (tmp_path / "host").mkdir()
    monkeypatch.chdir(tmp_path)
    suites = [[str(tmp_path / name)] for name in ("unit", "host", "browser")]
    assert dev.split_test_arguments([], tmp_path) == (suites, [])
    assert dev.split_test_arguments(["-k", "unit_of", "-x"], tmp_path) == (suites, ["-k", "unit_of", "-x"])
    selected = os.path.join("unit", "test_a.py") + "::test_b"
    assert dev.split_test_arguments([selected, "-x"], tmp_path) == ([[f"{file}::test_b"]], ["-x"])
    assert dev.split_test_arguments(["unit", "host"], tmp_path) == (suites[:2], [])


def test_the_arguments_for_pytest_are_not_touched():
    options, rest = dev.parse_arguments(["test", "--comfyui", "v0.8.0", "tests/unit", "-k", "a or b", "-x", "--co"])
    assert options.comfyui == "v0.8.0"
    assert rest == ["tests/unit", "-k", "a or b", "-x", "--co"]


@pytest.mark.parametrize(
    "arguments", [["demo", "--port", "1"], ["serve", "x"], ["texts", "x"], ["test", "--comfyui", "../x"], []]
)
def test_wrong_arguments_end_with_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        dev.parse_arguments(arguments)
    assert caught.value.code == 2
    assert "usage: " in capsys.readouterr().err


def test_dev_starts_without_any_package():
    command = [sys.executable, "-I", "-S", dev.__file__, "--help"]
    assert "demo" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
