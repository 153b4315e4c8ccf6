"""Named colours and what is mixed from them."""

from __future__ import annotations

Colour = tuple[int, int, int]

WHITE: Colour = (252, 250, 244)
INK: Colour = (34, 32, 44)

NAMED: dict[str, Colour] = {
    "crimson": (206, 38, 58),
    "coral": (250, 116, 90),
    "orange": (240, 140, 28),
    "gold": (244, 196, 48),
    "lime": (150, 204, 52),
    "green": (38, 146, 78),
    "teal": (18, 152, 152),
    "sky": (82, 184, 240),
    "blue": (38, 86, 204),
    "violet": (122, 66, 190),
    "magenta": (218, 58, 150),
    "pink": (250, 160, 190),
    "brown": (138, 86, 52),
    "slate": (84, 98, 118),
}
"""The colours that an item can be called by."""

METALS: dict[str, Colour] = {
    "gold": (222, 178, 74),
    "silver": (190, 196, 206),
    "copper": (196, 118, 76),
    "black": (52, 52, 60),
}


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """`first` with a `share` (0 to 1) of `second`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def light(colour: Colour, share: float = 0.45) -> Colour:
    """The colour mixed with white."""
    return mix(colour, (255, 255, 255), share)


def dark(colour: Colour, share: float = 0.35) -> Colour:
    """The colour mixed with a bluish black."""
    return mix(colour, (18, 14, 30), share)


def readable_on(colour: Colour) -> Colour:
    """Ink or white, whichever stands out from `colour` (Rec. 601 luma)."""
    red, green, blue = colour
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else WHITE
