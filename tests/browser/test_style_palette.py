def test_look(editor):
    network = editor.add("StyleDeltaLoadStyleNetwork", 0, 0)
    palette = editor.add("StyleDeltaStylePalette", 400, 0)
    editor.link(network, 0, palette, "style_network")
    editor.add("StyleDeltaNormPalette", 900, 0)
    editor.show(scale=1.0)
    editor.page.wait_for_timeout(9000)
    editor.screenshot("palette_look")
    print(editor.value(palette, "palette"), editor.page.evaluate("app.graph.nodes.map(n => [...n.size])"))
