"""The inks of a picture, by role: on white paper, and in the dark. Series are told apart with every colour vision."""

from __future__ import annotations

from collections.abc import Mapping

_OF_THE_PAGE = ("paper", "ink", "soft", "rule")
SERIES = 8  # inks of series; what is more shares "other"

LIGHT: Mapping[str, str] = {
    "paper": "#ffffff",
    "ink": "#1b2126",
    "soft": "#59636c",
    "rule": "#e2e5e1",
    "front": "#8b959d",
    "series-0": "#2a6ca8",
    "series-1": "#c2641d",
    "series-2": "#2b8a57",
    "series-3": "#8a4f9e",
    "series-4": "#b8336a",
    "series-5": "#7d6b00",
    "series-6": "#1b8791",
    "series-7": "#7a4a2b",
    "other": "#8b959d",
}
DARK: Mapping[str, str] = {
    "paper": "#14171b",
    "ink": "#e7eaec",
    "soft": "#a0a9b1",
    "rule": "#2d333a",
    "front": "#727c85",
    "series-0": "#74b3ea",
    "series-1": "#eea268",
    "series-2": "#6fcf97",
    "series-3": "#c99cea",
    "series-4": "#f083ab",
    "series-5": "#d4c24a",
    "series-6": "#5fd0d8",
    "series-7": "#cfa27f",
    "other": "#727c85",
}


def series_ink(index: int) -> str:
    """The role of a series."""
    return f"series-{index}" if index < SERIES else "other"


def stylesheet() -> str:
    """Classes for pictures inside a page, which follow the reader's wish for light or dark."""
    classes = "\n".join(
        f".fill-{role} {{ fill: var(--{role}); }} .stroke-{role} {{ stroke: var(--{role}); }}" for role in LIGHT
    )
    return (
        f":root {{ {_variables(LIGHT)} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)} }} }}\n"
        f"{classes}"
    )


def _variables(inks: Mapping[str, str]) -> str:
    """The page has its own colours for what is not a series."""
    return " ".join(
        f"--{role}: {colour};" for role, colour in inks.items() if role not in ("paper", "ink", "soft", "rule")
    )
