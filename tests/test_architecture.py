"""The floors of `lorafold/`, read from the import statements of every file, and docs/architecture.md, which draws them.

That `import lorafold` and `lorafold --help` really load no torch is seen in processes of their own:
`tests/trust/test_surroundings.py` and `tests/cli/test_app.py`.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from graphlib import CycleError, TopologicalSorter
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lorafold"

# From top to bottom: a floor imports only from itself and from those below it, also inside functions.
FLOORS = """
    cli commands integrations runs pages console pipelines
    layers scales core_rules solvers objectives core_space
    models calibration adapters geometry common
""".split()
OFF_THE_FLOORS = {"__init__", "__main__", "_version"}

# What `lorafold COMMAND --help` and a misspelt setting need: it imports nothing that imports torch, however far off.
LIGHT = [
    "lorafold",
    "lorafold.__main__",
    "lorafold._version",
    "lorafold.cli",
    "lorafold.cli.*",
    "lorafold.commands",
    "lorafold.commands.*.config",
    "lorafold.common.errors",
    "lorafold.common.options",
    "lorafold.common.settings",
    "lorafold.common.text",
    "lorafold.console.lines",
    "lorafold.pipelines.*.settings",
]
HEAVY = {"torch", "geoopt", "safetensors", "scipy"}
HYDRA = {"hydra", "omegaconf"}


class Import(NamedTuple):
    """One import statement of one file: of what, and whether it runs as soon as the file is imported."""

    name: str
    at_once: bool


def dotted(path: Path) -> str:
    """The module that a file is."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


FILES = {dotted(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(node: ast.AST, at_once: bool = True) -> Iterator[Import]:
    """All imports below a node of the syntax tree; those in functions or for type checkers do not run at once."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, at_once) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.module and not child.level, f"a relative import, in line {child.lineno}"
            names = (f"{child.module}.{alias.name}" for alias in child.names)
            yield from (Import(name if name in FILES else child.module, at_once) for name in names)
        else:
            deferred = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) or is_for_types(child)
            yield from imports(child, at_once and not deferred)


def is_for_types(node: ast.AST) -> bool:
    """`if TYPE_CHECKING:`, none of which here has an `else`."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


@cache
def imports_of(module: str) -> frozenset[Import]:
    """All imports of a module."""
    return frozenset(imports(ast.parse(FILES[module].read_text("utf-8"))))


@cache
def arrows() -> frozenset[tuple[str, str]]:
    """Which module imports which."""
    return frozenset((name, other.name) for name in FILES for other in imports_of(name) if other.name in FILES)


def floor(module: str) -> str:
    """The folder or file right below `lorafold/` to which a module belongs."""
    return module.split(".")[1] if "." in module else "__init__"


def loaded(module: str) -> set[str]:
    """What importing a module imports: modules of lorafold with the packages above them, and other packages by name."""
    seen, open_ends = set(), [module]
    while open_ends:
        name = open_ends.pop()
        for place in accumulate(name.split("."), "{}.{}".format):
            if place not in FILES:
                seen.add(place)
            elif place not in seen:
                seen.add(place)
                open_ends += [other.name for other in imports_of(place) if other.at_once]
    return seen


def test_the_graph_holds_what_it_should():
    """A reader of imports that reads nothing would find no fault either."""
    assert ("lorafold.pipelines.merge.task", "lorafold.core_space") in arrows()
    assert Import("torch", True) in imports_of("lorafold.geometry.angles")
    assert any(other.name.startswith("hydra") and not other.at_once for other in imports_of("lorafold.cli.app"))
    assert "torch" in loaded("lorafold.commands.merge.run")


def test_every_module_stands_on_a_floor():
    assert {floor(module) for module in FILES} == {*FLOORS, *OFF_THE_FLOORS}


def test_nothing_is_imported_from_a_floor_above():
    height = {name: -depth for depth, name in enumerate(FLOORS)}
    upwards = [
        f"{module} imports {other}"
        for module, other in sorted(arrows())
        if floor(module) in height and height.get(floor(other), -len(FLOORS)) > height[floor(module)]
    ]
    assert not upwards


def test_nothing_imports_the_package_itself():
    """`lorafold/__init__.py` is for users: it knows every floor, so no floor may know it."""
    assert not [module for module, other in sorted(arrows()) if other == "lorafold"]


def test_no_circle_of_modules():
    graph = defaultdict(set)
    for module, other in arrows():
        graph[module].add(other)
    assert circle(graph) is None


@pytest.mark.parametrize("folder", [name for name, path in FILES.items() if path.name == "__init__.py"])
def test_no_circle_within_a_folder(folder):
    """The files and the folders of a folder, each as a whole, can be read one after the other."""
    graph = defaultdict(set)
    for module, other in arrows():
        ours, theirs = child_of(folder, module), child_of(folder, other)
        if ours and theirs and ours != theirs:
            graph[ours].add(theirs)
    assert circle(graph) is None


def child_of(folder: str, module: str) -> str:
    """The file or folder in a folder to which a module belongs, or nothing."""
    return module.removeprefix(f"{folder}.").partition(".")[0] if module.startswith(f"{folder}.") else ""


def circle(graph: dict[str, set[str]]) -> str | None:
    """A way through the arrows that comes back to where it began."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return " < ".join(error.args[1])
    return None


def test_hydra_is_imported_on_the_top_floor_alone():
    users = {floor(module) for module in FILES for other in imports_of(module) if other.name.split(".")[0] in HYDRA}
    assert users == {"cli"}


@pytest.mark.parametrize("pattern", LIGHT)
def test_the_way_to_a_help_text_imports_no_torch(pattern):
    light = [module for module in FILES if fnmatchcase(module, pattern)]
    assert light
    assert not {module: heavy for module in light if (heavy := loaded(module) & HEAVY)}


@pytest.fixture(scope="module")
def page():
    path = ROOT / "docs" / "architecture.md"
    if not path.exists():
        pytest.skip("not a checkout")
    return path.read_text("utf-8")


def test_the_page_draws_these_floors(page):
    assert re.findall(r"(?m)^\| `(\w+)/` \|", page) == FLOORS


def test_the_page_names_what_exists(page):
    """`file.py` and `file.py:name`, from `lorafold/` or from the top."""
    places = re.findall(r"`(\w[\w/]*/\w+\.py)(?::(\w+))?`", page)
    assert len(places) > 30
    assert not [(path, name) for path, name in places if name not in names_in(path)]


def names_in(path: str) -> set[str]:
    """The functions and classes of a file, and "" for the file itself; nothing where there is none."""
    file = next((place for place in (PACKAGE / path, ROOT / path) if place.is_file()), None)
    tree = ast.parse(file.read_text("utf-8")).body if file else []
    return {getattr(node, "name", "") for node in tree}
