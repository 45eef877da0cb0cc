"""How many ways a pattern can be laid over a text: never fewer than the matcher needs, few for what people write."""

from __future__ import annotations

import math
import re

import pytest

from lorafold.common.safe_regex import unusable, ways

NAMES = [f"base_model.layers.{i}.self_attn.{x}_proj" for i in range(100) for x in "qkvo"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("q_proj", 1),
        (r"a\.b[0-9].", 1),
        ("a{7}", 1),
        ("a*", 11),
        ("a?", 2),
        ("a{0,2}", 11),
        ("(?:aa|bb){2}", 9),
        ("a+b+", math.comb(12, 2)),
        ("(aa|bb)", 2),
        ("(aa|bb)(aa|bb)", 4),
        ("(?:ab)+", 11),
        ("(?=a*)b", 11),
        ("(?>a*)b", 11),
        ("((a{1000}){1000}){1000}", 1),
    ],
)
def test_counts(pattern: str, expected: int) -> None:
    assert ways(pattern, 10) == expected


@pytest.mark.parametrize(
    "patterns",
    [
        [],
        NAMES,
        [f"^{re.escape(name)}" for name in NAMES],
        [r".*\.layers\.\d+\.self_attn\.q_proj"],
        [r"layers\.[0-9]+\.self_attn\.(q|k|v|o)_proj", r".*q_proj", "(?i:LAYERS)"],
        [r"^(?!.*vision).*(?:q_proj|v_proj)$"],
    ],
    ids=["none", "names", "anchored names", "layers", "several", "lookahead"],
)
def test_what_people_write_is_usable(patterns: list[str]) -> None:
    assert unusable(patterns, NAMES) is None


@pytest.mark.parametrize("pattern", ["(", "a{99999999999}", "(" * 10000, "(a+)+", "(a|a)*", "(a|aa){20}", ".*" * 9])
def test_what_nobody_needs_is_not(pattern: str) -> None:
    assert unusable(["a", pattern], NAMES) == pattern


@pytest.mark.parametrize(
    "pattern", [".*.*.*.*x", "(?:a?){9}a{9}x", "(a|a)" * 12 + "x", "(a|aa){2,9}x", "(?:a{1,3}){1,4}x"]
)
def test_what_is_usable_comes_to_an_end(pattern: str) -> None:
    """The worst text for it: it matches everywhere but at the end."""
    texts = ["a" * 40] * 3
    assert unusable([pattern], texts) is None
    assert not any(re.search(pattern, text) for text in texts)


def test_all_patterns_over_all_texts_have_a_thousand_million_ways() -> None:
    """Two repetitions have binomial(n + 3, 3) ways from any place of a text of n characters."""
    each = math.comb(40 + 3, 3)
    most = 1_000_000_000 // each
    assert unusable(["a*b*"], ["a" * 40] * most) is None
    assert unusable(["a*b*"], ["a" * 40] * (most + 1)) == "a*b*"
    half = ["a" * 40] * (most // 2 + 1)
    assert unusable(["a*b*", "name", "c*d*"], half) == "c*d*"
