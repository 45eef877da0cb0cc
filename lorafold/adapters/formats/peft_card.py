"""README.md beside a PEFT adapter that lorafold made: its model card, as the Hugging Face hub reads it.

What an adapter's metadata say comes from strangers. In the card it stands in code spans and indented code, where
nothing is markup, a link or a mention; in the front matter stands only what has the form of a name on the hub.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import indent
from typing import Any

import yaml

from lorafold.adapters.adapter import Adapter
from lorafold.common.text import amount, printable, span

CARD_NAME = "README.md"
# By which a card is known as one that may be replaced.
_MARK = "<!-- Written by lorafold, which replaces this file with the adapter. -->"
_ON_THE_HUB = re.compile(r"(?=.{1,96}$)\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
_LONGEST = 200  # characters of a name

_TEXT = """\
---
{front_matter}---

{mark}

# {title}

{origin}

- base model: {base}
- {size}

## How to use it

    from peft import PeftModel

    model = PeftModel.from_pretrained(base_model, "THIS FOLDER OR REPOSITORY")

{sections}"""


def card(adapter: Adapter) -> str | None:
    """The text of the card; None for an adapter that does not say that lorafold made it."""
    entry = _entry(adapter)
    if entry is None:
        return None
    inputs = [each for each in _list(entry.get("inputs")) if isinstance(each, dict)]
    base = adapter.config.get("base_model_name_or_path")
    return _TEXT.format(
        front_matter=_front_matter(base, len(inputs)),
        mark=_MARK,
        title="Merged LoRA adapter" if len(inputs) > 1 else "LoRA adapter",
        origin=f"Made by lorafold {_code(entry.get('version'))}, which merges LoRA adapters on Grassmann manifolds.",
        base="unknown" if base is None else _code(base if _on_the_hub(base) else _last_part(base)),
        size=_size(adapter),
        sections="\n".join([*_made_from(inputs), *_settings(entry)]),
    )


def is_card(path: Path) -> bool:
    """Whether the file is a card that lorafold wrote."""
    try:
        return _MARK in path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def _entry(adapter: Adapter) -> Mapping[str, Any] | None:
    try:
        entry = json.loads(adapter.metadata.get("lorafold", ""))
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _front_matter(base: Any, count: int) -> str:
    known = {"base_model": base} if _on_the_hub(base) else {}
    tags = ["lora", "lorafold", *(["merge"] if count > 1 else [])]
    return yaml.safe_dump({**known, "library_name": "peft", "tags": tags}, sort_keys=False)


def _on_the_hub(base: Any) -> bool:
    return isinstance(base, str) and _ON_THE_HUB.fullmatch(base) is not None


def _last_part(path: Any) -> str:
    """Of a folder, whose place on the trainer's machine is nobody's concern."""
    return re.split(r"[/\\]", str(path).rstrip("/\\"))[-1] or "unknown"


def _size(adapter: Adapter) -> str:
    modules = adapter.modules.values()
    numbers = sum(module.up.numel() + module.down.numel() for module in modules)
    count = f"{len(modules)} module{'s' if len(modules) != 1 else ''}"
    return f"{count}, rank {span(module.rank for module in modules)}, {amount(numbers)} parameters"


def _made_from(inputs: list[dict[str, Any]]) -> Iterator[str]:
    if inputs:
        yield "## Made from\n"
        yield from map(_input, inputs)
        yield ""


def _input(entry: Mapping[str, Any]) -> str:
    words = [_code(entry.get("file") or "an adapter without a file")]
    words += [f"weight {_code(entry['weight'])}"] if "weight" in entry else []
    kept = entry.get("kept")
    words += [f"{100 * kept:.0f} % of its energy kept"] if isinstance(kept, float) else []
    words += [f"SHA-256 {_code(entry['sha256'])}"] if entry.get("sha256") else []
    return f"- {', '.join(words)}"


def _settings(entry: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(method := entry.get("method"), dict):
        chosen = {key: value for key, value in method.items() if value is not None}
        yield f"## Settings of {_code(entry.get('command'))}\n"
        yield indent(json.dumps(chosen, indent=1, sort_keys=True), "    ") + "\n"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _code(value: Any) -> str:
    """Anything as a code span, whose fence is longer than any run of backticks in it (CommonMark 6.1)."""
    text = printable(str(value), _LONGEST)
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    return (
        f"{fence} {text} {fence}" if text.startswith(("`", " ")) or text.endswith(("`", " ")) else fence + text + fence
    )
