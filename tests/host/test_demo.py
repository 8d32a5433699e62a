"""The demo: pictures and a gallery, and a workflow that fails names its node."""

import json
import re

import demo
from PIL import Image


def example(tmp_path, name, prompt, **texts):
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps({"title": f"Title of {name}", "prompt": prompt} | texts), encoding="utf-8")
    return path


PAINTING = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "astronaut.png"}, "_meta": {"title": "Photo"}},
    "2": {"class_type": "StyleDeltaLoadStyleNetwork", "inputs": {"network": "26 styles (Dumoulin 2017)"}},
    "3": {
        "class_type": "StyleDeltaStyleSheet",
        "inputs": {"style_network": ["2", 0], "image": ["1", 0], "tile_size": 64, "columns": 9},
    },
    "4": {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}, "_meta": {"title": "All <styles>"}},
}


def test_a_workflow_gives_its_pictures_and_a_section_of_the_gallery(server, tmp_path):
    result = demo.run_example(server, example(tmp_path, "sheet", PAINTING, seen="real"), tmp_path)
    assert not result.error and [picture.caption for picture in result.pictures] == ["Photo", "All <styles>"]
    assert all(picture.file.stat().st_size for picture in result.pictures)
    section = demo.section(result, tmp_path)
    assert "Title of sheet" in section and "real" in section and "All &lt;styles&gt;" in section


def test_a_workflow_that_fails_names_its_node_and_the_message(server, tmp_path, capsys):
    broken = PAINTING | {
        "2": {"class_type": "StyleDeltaLoadStyleNetwork", "inputs": {"network": "any picture (Ghiasi 2017)"}}
    }
    result = demo.run_example(server, example(tmp_path, "broken", broken), tmp_path)
    assert "StyleDeltaStyleSheet" in result.error and "has no built-in styles" in result.error
    assert "broken: FAILED" in capsys.readouterr().out
    assert "has no built-in styles" in demo.section(result, tmp_path)


def test_the_gallery_has_the_training_of_minutes(tmp_path):
    (tmp_path / "claims").mkdir()
    page = demo.write_gallery(tmp_path, "Title", [], demo.learnt_section(tmp_path)).read_text(encoding="utf-8")
    (address,) = re.findall(r'<img class="rows" src="([^"]+)"', page)
    width, height = Image.open(tmp_path / address).size
    assert width > 1000 and height > 500 and "A look learnt from eight pictures" in page
