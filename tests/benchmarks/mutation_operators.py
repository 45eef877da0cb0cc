"""One-line changes to a source file that a test ought to notice, as replacements of byte ranges."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_OPPOSITES: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.Gt,
    ast.LtE: ast.GtE,
    ast.Gt: ast.Lt,
    ast.GtE: ast.LtE,
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_PAIRS = (("amax", "amin"), ("max", "min"), ("sum", "mean"), ("all", "any"), ("argmax", "argmin"), ("ceil", "floor"))
# What changes a value and keeps its type; without other calls nearly every program stops at once, which proves nothing.
_PLAIN = {"abs", "sorted", "round", "reversed", "float", "int", "set", "expanduser", "resolve", "signed", "escape"}
_PLAIN |= {
    "sqrt",
    "square",
    "clamp",
    "clamp_min",
    "clamp_max",
    "double",
    "strip",
    "lower",
    "removeprefix",
    "removesuffix",
}
_PLAIN |= {
    "contiguous",
    "floor",
    "ceil",
    "log",
    "exp",
    "flip",
    "sort",
    "sign",
    "cumsum",
    "casefold",
    "sort_layers",
    "isometry",
}
_KINDS = {"isinstance", "getattr", "hasattr", "zip", "map"}  # their arguments are of different types
_NAMES = {one: other for pair in _PAIRS for one, other in (pair, pair[::-1])} | {
    "nanmean": "mean",
    "clamp_min": "clamp_max",
}


@dataclass(frozen=True)
class Mutant:
    """The bytes from `start` to `end` replaced by `text`; `kind` and the two texts say what changes, on which line."""

    file: str
    line: int
    kind: str
    start: int
    end: int
    before: str
    text: str

    def apply(self, source: bytes) -> bytes:
        return source[: self.start] + self.text.encode() + source[self.end :]

    def compiles(self, source: bytes) -> bool:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                compile(self.apply(source), "mutant", "exec")
        except (SyntaxError, SyntaxWarning, ValueError):
            return False
        return True

    @property
    def label(self) -> str:
        return f"{self.file}:{self.line} {self.kind}: {' '.join(self.before.split())} -> {' '.join(self.text.split())}"


def mutants(file: str, source: bytes) -> Iterator[Mutant]:
    """All changes of a file; messages, annotations and docstrings stay as they are."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node in _nodes(ast.parse(source)):
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        before = source[start:end].decode()
        for kind, changed in _changes(node):
            text = ast.unparse(changed)
            padding = "\n" * before.count("\n")
            text = f"({text}{padding})" if isinstance(node, ast.expr) else text + padding
            yield Mutant(file, node.lineno, kind, start, end, before, text)


def _nodes(node: ast.AST) -> Iterator[ast.expr | ast.stmt]:
    """Statements and expressions that mean something to a program, but not the parts of a raise or of an f-string."""
    if isinstance(node, ast.expr | ast.stmt):
        yield node
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom):
        return
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns") or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not (
                isinstance(child, ast.keyword) and child.arg in ("strict", "frozen")
            ):
                yield from _nodes(child)


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    change = _CHANGES.get(type(node))
    if change is not None:
        yield from change(node)


def _edited(node: ast.AST, **fields: object) -> ast.AST:
    copy = deepcopy(node)
    for name, value in fields.items():
        setattr(copy, name, value)
    return copy


def _compare(node: ast.Compare) -> Iterator[tuple[str, ast.AST]]:
    for table in (_COMPARISONS, _OPPOSITES):
        if type(node.ops[0]) in table:
            yield "comparison", _edited(node, ops=[table[type(node.ops[0])](), *node.ops[1:]])
    for index, side in enumerate(node.comparators):
        if isinstance(side, ast.Constant) and isinstance(side.value, str):
            sides = [*node.comparators]
            sides[index] = ast.Constant(side.value + "?")
            yield "string", _edited(node, comparators=sides)


def _binary(node: ast.BinOp) -> Iterator[tuple[str, ast.AST]]:
    if type(node.op) in _OPERATORS and not (isinstance(node.op, ast.BitOr) and isinstance(node.right, ast.Constant)):
        yield "operator", _edited(node, op=_OPERATORS[type(node.op)]())
    if isinstance(node.op, ast.Sub | ast.Div | ast.MatMult):
        yield "operands exchanged", _edited(node, left=node.right, right=node.left)


def _constant(node: ast.Constant) -> Iterator[tuple[str, ast.AST]]:
    value = node.value
    if isinstance(value, bool):
        yield "boolean", ast.Constant(not value)
    elif isinstance(value, int):
        yield "number", ast.Constant(value + 1)
        if value > 0:
            yield "number", ast.Constant(value - 1)
    elif isinstance(value, float):
        yield "number", ast.Constant(value * 2 + (value == 0))


def _unary(node: ast.UnaryOp) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node.op, ast.USub | ast.Not | ast.Invert):
        yield "negation dropped", node.operand


def _call(node: ast.Call) -> Iterator[tuple[str, ast.AST]]:
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name in _NAMES:
        field = "attr" if isinstance(function, ast.Attribute) else "id"
        yield "function", _edited(node, func=_edited(function, **{field: _NAMES[name]}))
    if (
        len(node.args) >= 2
        and all(isinstance(side, ast.Name | ast.Attribute) for side in node.args[:2])
        and name not in _KINDS
    ):
        yield "arguments exchanged", _edited(node, args=[node.args[1], node.args[0], *node.args[2:]])
    if name in _PLAIN and len(node.args) == 1 and not isinstance(node.args[0], ast.Starred | ast.GeneratorExp):
        yield "call dropped", node.args[0]
    if name in _PLAIN and isinstance(function, ast.Attribute) and not isinstance(function.value, ast.Name):
        yield "method dropped", function.value
    for index, keyword in enumerate(node.keywords):
        if keyword.arg not in ("strict", "frozen", "device", "key", "path", "remedy"):
            yield "keyword dropped", _edited(node, keywords=[*node.keywords[:index], *node.keywords[index + 1 :]])


def _boolean(node: ast.BoolOp) -> Iterator[tuple[str, ast.AST]]:
    yield "and / or", _edited(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    for index in range(len(node.values)):
        values = node.values[:index] + node.values[index + 1 :]
        yield "condition dropped", values[0] if len(values) == 1 else _edited(node, values=values)


def _either(node: ast.IfExp) -> Iterator[tuple[str, ast.AST]]:
    yield "always the first", node.body
    yield "always the second", node.orelse


def _statement(node: ast.Expr) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node.value, ast.Call):
        yield "call dropped", ast.Pass()


def _raised(node: ast.Raise) -> Iterator[tuple[str, ast.AST]]:
    yield "raise dropped", ast.Pass()


def _comprehension(node: ast.ListComp) -> Iterator[tuple[str, ast.AST]]:
    generators = node.generators
    if generators[0].ifs:
        yield "filter dropped", _edited(node, generators=[_edited(generators[0], ifs=[]), *generators[1:]])


_CHANGES: dict[type[ast.AST], Callable[..., Iterator[tuple[str, ast.AST]]]] = {
    ast.Compare: _compare,
    ast.BinOp: _binary,
    ast.Constant: _constant,
    ast.UnaryOp: _unary,
    ast.Call: _call,
    ast.BoolOp: _boolean,
    ast.IfExp: _either,
    ast.Expr: _statement,
    ast.Raise: _raised,
    ast.ListComp: _comprehension,
    ast.SetComp: _comprehension,
    ast.DictComp: _comprehension,
    ast.GeneratorExp: _comprehension,
}
