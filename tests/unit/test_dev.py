import hashlib
import os
import subprocess
import sys
from collections import Counter
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


def test_hosts_are_named_by_age_or_tag_and_have_environments_of_their_own(tmp_path):
    def chosen(name: str, **env: str) -> dev.ChosenHost:
        return dev.chosen_host(name, env, tmp_path)

    assert chosen("old") == ("old", ["--comfyui", "v0.3.75"], {}, tmp_path / ".venv")
    assert chosen("new") == ("new", ["--comfyui", "v0.33.0"], {}, tmp_path / ".venv-v0.33.0")
    assert chosen("v0.8.0") == ("v0.8.0", ["--comfyui", "v0.8.0"], {}, tmp_path / ".venv-v0.8.0")
    given = chosen("new", COMFYUI_NEW_DIR="/somewhere")
    assert given == ("new", [], {"COMFYUI_DIR": "/somewhere"}, tmp_path / ".venv-new")
    options, rest = dev.parse_arguments(["test", "--hosts", "old,new", "tests/host", "-x"])
    assert [host.name for host in options.hosts] == ["old", "new"] and rest == ["tests/host", "-x"]


def test_what_each_host_leaves_out_is_a_table(tmp_path):
    (tmp_path / "0.xml").write_text(
        '<testsuites><testsuite><testcase/><testcase><failure message="a"/></testcase>'
        '<testcase><skipped message="no Chromium"/></testcase><testcase><error/></testcase></testsuite></testsuites>'
    )
    (tmp_path / "1.xml").write_text("<testsuites><testsuite><testcase/></testsuite></testsuites>")
    found = dev.outcome(tmp_path)
    assert found == (2, 2, {"no Chromium": 1})
    other = dev.Outcome(10, 0, Counter({"no Wan": 3, "no Chromium": 1}))
    assert dev.outcome_table({"old": found, "v0.33.0": other}).splitlines() == [
        "   old  v0.33.0",
        "     2       10  passed",
        "     2        0  failed",
        "     1        4  skipped",
        "     1        1    no Chromium",
        "     0        3    no Wan",
    ]


@pytest.fixture
def models(tmp_path):
    for name in (
        "checkpoints/dreamshaper_8.safetensors",
        "checkpoints/xl/juggernaut.safetensors",
        "loras/ink.safetensors",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "checkpoints/put_checkpoints_here").touch()
    return tmp_path


def own(*arguments):
    return dev.own_models(dev.parse_arguments(["demo", *map(str, arguments)])[0])


def test_own_models_are_found_by_name_with_or_without_folder_and_ending(models):
    inner = os.path.join("xl", "juggernaut.safetensors")
    for name in (inner, "juggernaut.safetensors", "juggernaut"):
        assert own("--models", models, "--checkpoint", name) == [str(models), inner]
    chosen = own("--models", models, "--checkpoint", "dreamshaper_8.safetensors", "--loras", "ink")
    assert chosen == [str(models), "dreamshaper_8.safetensors", "ink.safetensors"]
    assert own() == []


def test_own_models_that_are_not_there_are_an_error(models):
    with pytest.raises(dev.DevError, match=r"has no dreamshapr_8.safetensors. Nearest: dreamshaper_8.safetensors"):
        own("--models", models, "--checkpoint", "dreamshapr_8.safetensors")
    with pytest.raises(dev.DevError, match=r"loras has no moss. Nearest: ink.safetensors"):
        own("--models", models, "--checkpoint", "juggernaut", "--loras", "moss")
    with pytest.raises(dev.DevError, match="There is no folder .*nowhere: --models needs the models folder"):
        own("--models", models / "nowhere", "--checkpoint", "a")
    with pytest.raises(dev.DevError, match="has no folder checkpoints: is it the models folder"):
        own("--models", models / "loras", "--checkpoint", "a")


def test_the_folder_above_the_models_folder_is_told_from_it(models):
    models.rename(models.with_name("models"))
    with pytest.raises(dev.DevError, match="did you mean .*models\\?"):
        own("--models", models.parent, "--checkpoint", "a")


def test_a_name_in_two_folders_is_not_guessed(models):
    (models / "checkpoints/juggernaut.ckpt").touch()
    with pytest.raises(dev.DevError, match="has juggernaut more than once: write juggernaut.ckpt or xl"):
        own("--models", models, "--checkpoint", "juggernaut")


@pytest.mark.parametrize(
    "arguments",
    [
        ["demo", "--port", "1"],
        ["demo", "--checkpoint", "a"],
        ["demo", "--models", "a"],
        ["demo", "--loras", "a"],
        ["serve", "x"],
        ["texts", "x"],
        ["test", "--comfyui", "../x"],
        ["test", "--hosts", "old,older"],
        ["test", "--hosts", "old,old"],
        ["test", "--hosts", "old", "--comfyui", "v0.8.0"],
        [],
    ],
)
def test_wrong_arguments_end_with_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        dev.parse_arguments(arguments)
    assert caught.value.code == 2
    assert "usage: " in capsys.readouterr().err


def test_dev_starts_without_any_package():
    command = [sys.executable, "-I", "-S", dev.__file__, "--help"]
    assert "demo" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
