"""The colours of charts, by role: on light paper, and in the dark. Series are told apart with every colour vision."""

from __future__ import annotations

SERIES = 8  # colours of series; what is more shares "other"

_OF_THE_PAGE = ("paper", "ink", "soft", "rule")  # page.css has these
LIGHT = {
    "paper": "#ffffff",
    "ink": "#1b2126",
    "soft": "#59636c",
    "rule": "#e2e5e1",
    "other": "#8b959d",
    "series-0": "#2a6ca8",
    "series-1": "#c2641d",
    "series-2": "#2b8a57",
    "series-3": "#8a4f9e",
    "series-4": "#b8336a",
    "series-5": "#7d6b00",
    "series-6": "#1b8791",
    "series-7": "#7a4a2b",
}
DARK = {
    "paper": "#14171b",
    "ink": "#e7eaec",
    "soft": "#a0a9b1",
    "rule": "#2d333a",
    "other": "#727c85",
    "series-0": "#74b3ea",
    "series-1": "#eea268",
    "series-2": "#6fcf97",
    "series-3": "#c99cea",
    "series-4": "#f083ab",
    "series-5": "#d4c24a",
    "series-6": "#5fd0d8",
    "series-7": "#cfa27f",
}

# "mako" of seaborn, from 1 to 0: as on the page (lorafold/pages/script/colour.js).
MAKO = ("#1d1426", "#2e1e3b", "#413d7b", "#37659e", "#348fa7", "#40b7ad", "#8bdab2", "#def5e5")


def series_colour(index: int) -> str:
    """The colour of a series on light paper."""
    return LIGHT[f"series-{index}" if index < SERIES else "other"]


def stylesheet() -> str:
    """The colours as variables of the page, which follow the reader's wish for light or dark."""
    light, dark = (
        " ".join(f"--{role}: {colour};" for role, colour in colours.items() if role not in _OF_THE_PAGE)
        for colours in (LIGHT, DARK)
    )
    return f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"


def as_variable(colour: str) -> str:
    """A colour of light paper as the page's variable; others, such as `none`, as they are."""
    return next((f"var(--{role})" for role, light in LIGHT.items() if light == colour), colour)
