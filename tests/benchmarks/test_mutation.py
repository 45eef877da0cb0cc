"""The changes that are tried, and the table of what the tests said."""

from __future__ import annotations

import mutation
from mutation_operators import mutants

SOURCE = '''\
"""Letters ahead of a change: Σ."""


def size(x: int | None, n: int = 3) -> float:
    """Not this -1."""
    if x is None:
        raise ValueError(f"{n - 1}")
    return max(abs(x - n), 1) * (-1 if "Σ" == n else 2.5)
'''


def texts():
    return {mutant.apply(SOURCE.encode()).decode() for mutant in mutants("a.py", SOURCE.encode())}


def test_changes_are_of_one_place_and_leave_words_and_types_alone():
    lines = SOURCE.splitlines()
    for text in texts():
        changed = text.splitlines()
        assert len(changed) == len(lines)
        (line,) = [i for i, (one, other) in enumerate(zip(lines, changed, strict=True)) if one != other]
        assert line in (3, 5, 6, 7)
    assert not any("n - 2" in text or "Not this 1" in text or "int & None" in text for text in texts())


def test_the_kinds_that_are_asked_for_are_there():
    for old, new in {
        "x is None:": "(x is not None):",
        "n: int = 3": "n: int = (4)",
        'raise ValueError(f"{n - 1}")': "pass",
        "abs(x - n)": "(x - n)",
        "x - n": "(x + n)",
        "max(": "(min(",
        "-1 if": "(1) if",
        "2.5": "(5.0)",
        '"Σ" == n': "('Σ' != n)",
    }.items():
        assert any(new in text for text in texts()), (old, new)


def test_a_change_that_no_longer_compiles_is_not_tried():
    source = b"x: int = 1\nfor _ in range(2):\n    pass\n"
    assert all(mutant.compiles(source) for mutant in mutants("a.py", source))


def test_where_the_tests_of_a_line_are_looked_up():
    assert mutation._executing(SOURCE, 8) == range(8, 9)  # itself
    assert mutation._executing(SOURCE, 4) == range(5, 9)  # a default: the body
    assert 8 in mutation._executing("LIMIT = 3\n" + SOURCE, 1)  # a constant: all of the file


def test_the_table_counts_by_folder_and_names_what_was_not_noticed():
    entry = {"mutant": "p/a.py:1 number: 1 -> (2)", "area": "p", "covering": 9, "tests": 5, "seconds": 2.0}
    answers = [{**entry, "answer": answer} for answer in ("killed", "killed", "survived", "not covered")]
    lines = mutation.table(answers).splitlines()
    assert lines[1].split() == ["p", "2", "1", "1", "50", "%"] and lines[2].split()[0] == "all"
    assert sum(line.endswith(entry["mutant"]) for line in lines) == 2
