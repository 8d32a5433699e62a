"""Sockets of the pack's own types in Nodes 2.0: each has a colour that stands out from its node, in both themes."""

import pytest

# By node types, those of sockets that no core node has. Values of widgets are no sockets.
TYPES = """() => {
  const all = Object.values(LiteGraph.registered_node_types).filter((type) => type.nodeData)
  const types = (node) => [...Object.values(node.nodeData.inputs), ...node.nodeData.outputs].map((socket) => socket.type)
  const ours = all.filter((type) => type.type.startsWith('StyleDelta')).flatMap(types)
  const own = (type) => /^[A-Z_]+$/.test(type) && !type.startsWith('STYLEDELTA_')
  const plain = ['INT', 'FLOAT', 'STRING', 'BOOLEAN', 'COMBO']
  return [...new Set(ours)].filter((type) => own(type) && !plain.includes(type))
}"""
# The contrast of each type's colour with a node, as WCAG counts; 0 for a type without a colour.
CONTRASTS = """(types) => {
  const canvas = Object.assign(document.createElement('canvas'), { width: 1, height: 1 }).getContext('2d')
  const light = (css) => {
    canvas.fillStyle = css
    canvas.fillRect(0, 0, 1, 1)
    const linear = [...canvas.getImageData(0, 0, 1, 1).data].map((v) => (v / 255 <= 0.04045 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4))
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
  }
  const page = getComputedStyle(document.body)
  const node = light(getComputedStyle(document.querySelector('.lg-node')).backgroundColor)
  return Object.fromEntries(types.map((type) => {
    const colour = page.getPropertyValue(`--color-datatype-${type}`)
    const [a, b] = [light(colour || 'black'), node].sort((x, y) => y - x)
    return [type, colour ? (a + 0.05) / (b + 0.05) : 0]
  }))
}"""
OURS = {
    *("LORA_STACK", "LORA_MODEL", "RANK_POLICY", "STYLE_NETWORK", "STYLE_PARAMS", "FEATURE_STATISTICS"),
    *("TRANSFER_NETWORK", "TRANSFER_STYLE"),
    *("CONTROL_NET_STACK", "CONTROL_WEIGHTS", "CONTROL_SCHEDULE", "POSE_KEYPOINT", "MODEL_PATCH"),
}


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_sockets_have_colours(editor, theme):
    if editor.renderer == "classic":
        pytest.skip("the classic canvas has a colour for sockets of every type")
    editor.add("StyleDeltaMergeLoras")
    editor.page.evaluate("(theme) => app.extensionManager.setting.set('Comfy.ColorPalette', theme)", theme)
    try:
        editor.settle()
        contrasts = editor.page.evaluate(CONTRASTS, editor.page.evaluate(TYPES))
        assert contrasts.keys() >= OURS
        assert not [type for type in OURS if contrasts[type] < 2.5]
        assert not [type for type, contrast in contrasts.items() if not contrast]
    finally:
        editor.page.evaluate("app.extensionManager.setting.set('Comfy.ColorPalette', 'dark')")
