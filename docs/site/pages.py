"""What MkDocs is given beside the files of `docs/`: pages made from the program, and the documents of the top folder.

- `commands.md`: what `--help-all` says of every command;
- `python.md`: the names that `lorafold` exports, each rendered from its docstring by mkdocstrings;
- README.md as the first page; CONTRIBUTING.md, SECURITY.md and CHANGELOG.md.

Links are written as they work in a checkout; what they lead to outside `docs/` has no page, unless it is one of these.
"""

from __future__ import annotations

import posixpath
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mkdocs.structure.files import File, Files

import lorafold

ROOT = Path(__file__).parents[2]

# Documents of the top folder, and the pages that they become.
TOP = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
MORE_NAMES = ["lorafold.integrations.peft.add_merged_adapter", "lorafold.geometry.grassmann.Grassmann"]

# [text](file.md#part), and what is left of [![alt](picture)](file.md) once the picture is taken: ](file.md)
_LINK = re.compile(r"((?:\[[^][]*)?\])\((?!\w+:)([^)#\s]+\.\w+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Called by MkDocs: the pages that are no files."""
    pages = {page: (ROOT / document).read_text("utf-8") for document, page in TOP.items()}
    for page, text in {**pages, "commands.md": commands(), "python.md": python()}.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by MkDocs: the links of a page as the site needs them."""
    here = page.file.src_uri
    source = next((document for document, target in TOP.items() if target == here), f"docs/{here}")

    def moved(link: re.Match[str]) -> str:
        text, target, anchor = link.groups()
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if path not in TOP and not path.startswith("docs/"):
            return text.strip("[]")
        page_of = TOP.get(path, path.removeprefix("docs/"))
        return f"{text}({posixpath.relpath(page_of, posixpath.dirname(here) or '.')}{anchor or ''})"

    # In tables GitHub wants a backslash before a bar, also within code; Python-Markdown shows it.
    plain_bars = re.sub(r"`[^`\n]+`", lambda code: code[0].replace(r"\|", "|"), markdown)
    return _LINK.sub(moved, plain_bars)


def commands() -> str:
    """The help texts, by command, in the order of `lorafold --help`."""
    usage = said("--help")
    names = re.findall(r"(?m)^  (\w+)  +\S", usage)
    sections = [f"## {name}\n\n```text\n{said(name, '--help-all')}\n```" for name in names]
    return "\n\n".join(["# Commands", f"```text\n{usage}\n```", *sections])


def said(*arguments: str) -> str:
    """What the program prints, run by itself in an empty folder."""
    command = [sys.executable, "-m", "lorafold", *arguments]
    with TemporaryDirectory() as empty:
        return subprocess.run(command, cwd=empty, check=True, capture_output=True, text=True).stdout.strip()


def python() -> str:
    """The exported names, functions first."""
    return "\n\n".join(["# Python", "After `import lorafold`, all but the last two as `lorafold.NAME`.", *sections()])


def sections() -> Iterator[str]:
    """A heading for each kind of name, and what mkdocstrings replaces by the documentation of the names."""
    exported = [name for name in lorafold.__all__ if name != "__version__"]
    functions = [name for name in exported if name.islower()]
    settings = [name for name in exported if name.endswith("Settings")]
    values = [name for name in exported if name not in (*functions, *settings)]
    for kind, names in {"Functions": functions, "Settings": settings, "Results and values": values}.items():
        yield "\n\n".join([f"## {kind}", *(f"::: {home(name)}" for name in names)])
    yield "\n\n".join(["## Further", *(f"::: {name}" for name in MORE_NAMES)])


def home(name: str) -> str:
    """Where an exported name is defined: `lorafold.adapters.load` could be the module or the function in it."""
    value = getattr(lorafold, name)
    return f"{value.__module__}.{value.__qualname__}"
