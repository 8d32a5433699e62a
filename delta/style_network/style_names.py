"""What the 26 styles of the bundled network look like. They came with numbers alone; these words were put to their
paintings of several photos, and tell strokes and colours, not the artist."""

TABLE_STYLES = (
    "soft pastel, sky blue and ochre",
    "bold black lines, grey and yellow",
    "charcoal, pale blue and peach",
    "abstract strokes, red, blue and black",
    "canvas grain, dark red, apricot and sky blue",
    "oil sketch, rust and violet",
    "dark dots on indigo",
    "flat paint, blue, yellow and red",
    "fine hatching, turquoise and pink on white",
    "linocut flecks, dark teal, red and white",
    "wood carving, burnt orange and black",
    "stippled contours, ochre on pale grey",
    "soft light, yellow and lavender",
    "strong contours, lime, teal and dark red",
    "pale wash, light blue and blush",
    "cubist lines, pastel lilac",
    "crayon hatching, violet blue and olive",
    "woven ribbons, red, orange and blue",
    "carved relief, khaki and brown",
    "night-sky strokes, blue and yellow",
    "glowing dark red with blue",
    "paper cut-outs, pink, light blue and black",
    "comic ink, white, violet blue and red",
    "dusk, dark green and pale blue",
    "woodblock print, blue on cream",
    "thick dabs, slate blue and rust",
)


def table_style_name(number: int) -> str:
    """The number and the description of a style, such as `style 19: night-sky strokes, blue and yellow`."""
    return f"style {number}: {TABLE_STYLES[number]}"
