"""The SVG that matplotlib writes, made fit for the page and for files.

The page forbids `style` attributes and has colours for light and dark; its script looks for `data-run`. No id is kept
but those of the marks that the figure uses again.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence

from lorafold.commands.report.page.inks import LIGHT, as_variable
from lorafold.common.text import printable

_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_FONT = "ui-sans-serif, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', Arial, sans-serif"
_DROPPED = ("clip-path", "id", "style", "transform")
_CLASSES = ("chart", "front", "line")  # of our gids
_KEPT = ("fill", "stroke", "stroke-width", "stroke-dasharray", "font-size", "font-weight", "text-anchor")

Titles = Sequence[Callable[[int], str]]  # for each chart, what the mark of a run says


def part_of_page(svg: bytes, label: str, titles: Titles, css_class: str) -> str:
    """An element whose colours are variables of the page (see `inks`)."""
    root = _cleaned(svg, titles)
    root.attrib |= {"class": css_class, "role": "img", "aria-label": printable(label)}
    for element in root.iter():
        element.attrib |= {key: as_variable(element.attrib[key]) for key in ("fill", "stroke") if key in element.attrib}
    return _text(root)


def file_of_its_own(svg: bytes, label: str, titles: Titles) -> str:
    """A file that needs no other, on white paper."""
    root = _cleaned(svg, titles)
    root.set("font-family", _FONT)
    title, paper = ET.Element(f"{_SVG}title"), ET.Element(f"{_SVG}rect", width="100%", height="100%")
    title.text = printable(label)
    paper.set("fill", LIGHT["paper"])
    root[:0] = [title, paper]
    return _text(root) + "\n"


def _cleaned(svg: bytes, titles: Titles) -> ET.Element:
    root = ET.fromstring(svg)
    root.attrib = {"viewBox": root.attrib["viewBox"], **{key: root.attrib[key][:-2] for key in ("width", "height")}}
    for definitions in root.findall(f"{_SVG}defs"):  # a style sheet, and what clips
        root.remove(definitions)
    for group in root.iter(f"{_SVG}g"):
        kind, *numbers = group.get("id", "").split() or [""]
        if kind == "runs":
            _name_marks(group, titles[int(numbers[0])], numbers[1:])
    for element in root.iter():
        _clean(element)
    for definition in root.iterfind(f".//{_SVG}defs/"):  # each use of it has the look
        definition.attrib = {"id": definition.attrib["id"], "d": definition.attrib["d"]}
    return root


def _name_marks(group: ET.Element, title: Callable[[int], str], runs: Sequence[str]) -> None:
    for use, run in zip(group.iter(f"{_SVG}use"), runs, strict=True):
        use.attrib |= {"class": "run", "data-run": run}
        ET.SubElement(use, f"{_SVG}title").text = printable(title(int(run)))


def _clean(element: ET.Element) -> None:
    """Attributes for the styles, no more digits than are seen, and no white space between elements."""
    before = dict(element.attrib)
    element.attrib = {key: value for key, value in before.items() if key not in _DROPPED} | _styles(
        before.get("style", "")
    )
    if before.get("id") in _CLASSES:
        element.set("class", before["id"])
    if element.tag == f"{_SVG}path" and "id" in before:
        element.set("id", before["id"])
    for key in {"d", "x", "y"}.intersection(element.keys()):
        element.set(key, re.sub(r"-?\d+\.\d+", _rounded, " ".join(element.attrib[key].split())))
    element.text = element.text if element.text and element.text.strip() else None
    element.tail = None


def _styles(text: str) -> dict[str, str]:
    styles = dict(style.split(": ", 1) for style in text.split("; ") if style)
    if "font" in styles:  # older versions of matplotlib say it in one
        size, bold = re.search(r"[\d.]+px", styles["font"]), re.search(r"\b(bold|[67]00)\b", styles["font"])
        styles |= {"font-size": size[0]} if size else {}
        styles |= {"font-weight": bold[0]} if bold else {}
    return {key: styles[key] for key in _KEPT if key in styles}


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def _text(root: ET.Element) -> str:
    ET.register_namespace("", _SVG[1:-1])
    ET.register_namespace("xlink", _XLINK[1:-1])
    return ET.tostring(root, encoding="unicode")
