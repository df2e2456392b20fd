"""What Toyland consists of: shapes, colours and their shades, textures, backgrounds, styles.

The order of the lists is part of the world: `toy-clip` is trained on the first `KNOWN` shapes and colours and the first
`KNOWN_TEXTURES` textures; whatever stands behind them is drawn for nobody's training.
"""

from __future__ import annotations

SHAPES = (
    *("circle", "square", "triangle", "star", "cross", "ring", "heart", "arrow"),
    *("diamond", "moon", "hexagon", "drop"),
)
"""The arrow points to the right, always: pictures of Toyland must not be flipped."""

SHADES_OF = {
    "red": {"maroon": (128, 14, 30), "scarlet": (240, 34, 38)},
    "orange": {"rust": (186, 78, 14), "peach": (255, 164, 92)},
    "yellow": {"mustard": (196, 156, 16), "lemon": (255, 238, 66)},
    "green": {"forest": (18, 92, 40), "lime": (112, 222, 54)},
    "cyan": {"teal": (0, 112, 116), "aqua": (70, 226, 228)},
    "blue": {"navy": (22, 36, 132), "azure": (58, 140, 252)},
    "purple": {"plum": (92, 22, 118), "lilac": (178, 122, 232)},
    "pink": {"magenta": (214, 24, 136), "blush": (255, 172, 204)},
    "brown": {"umber": (84, 52, 24), "tan": (190, 150, 104)},
    "grey": {"slate": (74, 80, 88), "silver": (172, 176, 180)},
}
"""Colour to its two shades, dark one first, each with its red, green and blue (0 to 255)."""

COLOURS = tuple(SHADES_OF)
SHADES = tuple(shade for pair in SHADES_OF.values() for shade in pair)
"""Shade `2 * colour + s` is the dark (s = 0) or light (s = 1) one of a colour."""

RGB = tuple(rgb for pair in SHADES_OF.values() for rgb in pair.values())
TEXTURES = ("plain", "striped", "dotted", "checked", "ribbed", "netted")
BACKGROUNDS = ("paper", "cloud", "sand", "mist", "dusk", "tiles")
PLACES = ("left", "right", "top", "bottom")
SIZES = ("small", "large")

STYLES = ("clean", "noisy", "night", "sketch", "inverted", "pixelated")
"""Ways of drawing the same scene that pre-training saw, the rarer the further back."""

SHIFTS = ("backlit", "haze", "faint")
"""Changes of a clean picture that pre-training never drew: light from behind, haze, low contrast."""

KNOWN, KNOWN_TEXTURES = 8, 4

SEEN = tuple(
    (colour, texture, shape)
    for colour in range(KNOWN)
    for texture in range(KNOWN_TEXTURES)
    for shape in range(KNOWN)
    if (colour + texture + shape) % 4 != 3
)
"""The 192 triples (colour, texture, shape) that pre-training draws: every pair of two attributes is among them."""

UNSEEN = tuple(
    (colour, texture, shape)
    for colour in range(KNOWN)
    for texture in range(KNOWN_TEXTURES)
    for shape in range(KNOWN)
    if (colour + texture + shape) % 4 == 3
)
"""The 64 triples that pre-training never draws; every colour and shape has exactly one such texture."""
