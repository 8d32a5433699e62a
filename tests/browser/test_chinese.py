"""The editor in Chinese: titles, sockets and fields of the pack's nodes, also where the front end loses the texts of packs."""

import json
from pathlib import Path

TEXTS = json.loads((Path(__file__).parents[2] / "locales/zh/nodeDefs.json").read_text(encoding="utf-8"))
NAMES = """(id) => {
  const node = app.graph.getNodeById(id)
  const inputs = Object.fromEntries(node.inputs.map((input) => [input.name, input.localized_name]))
  return [node.title, inputs, node.outputs.map((output) => output.localized_name)]
}"""


def test_nodes_are_named_in_chinese(chinese):
    for number, node_type in enumerate(("StyleDeltaStylize", "StyleDeltaMergeLoras", "StyleDeltaControlNetApply")):
        texts = TEXTS[node_type]
        title, inputs, outputs = chinese.page.evaluate(NAMES, chinese.add(node_type, 450 * number, 0))
        assert title == texts["display_name"]
        assert inputs and inputs == {name: texts["inputs"][name]["name"] for name in inputs}
        assert outputs == [output["name"] for output in texts["outputs"].values()]
    titles = chinese.page.evaluate(
        "(names) => names.map((name) => LiteGraph.registered_node_types[name].title)", list(TEXTS)
    )
    assert titles == [texts["display_name"] for texts in TEXTS.values()]
