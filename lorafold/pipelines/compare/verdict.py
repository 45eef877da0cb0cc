"""What the numbers of a pair of adapters say, in plain language: every sentence names what it rests on.

It reads one entry of `summary.pairs` of a comparison's metrics, and the significance level alpha. Sizes of effects come
first, and words for them; tests say what may be chance:

- the overlap beside its null. Against a panel of other adapters of the base, what a layer has more is beyond chance.
  Against mismatched layers it is not said so: what two adapters share there may be the base's at that layer, as it is
  against random subspaces, which any two adapters of one base exceed;
- the cosine of the updates by its size, see `cosine_words`. Independent updates have a cosine of mean 0 and known
  spread, whatever their spectra, so that by Chebyshev |cosine| > spread / √alpha is rarer than alpha. The same with the
  spread that remains when the subspaces are given tells whether the sign is more than a consequence of their overlap;
- are the row spaces alike only because training began alike? See `shared_initialisation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any

from lorafold.common.text import two_digits
from lorafold.pipelines.compare.null import smallest_n, smallest_panel

Json = Mapping[str, Any]

PANEL, MISMATCHED = "panel", "mismatched layers"
INDEPENDENT = "practically independent"
AGREEING = "agreeing"
OPPOSING = "opposing"
NOTHING = "nothing in common"
SHARED = "subspaces shared beyond chance"
_UNUSED = "the panel has none of the layers of both"
DOUBT = "?"  # after a sign that may be chance
# |cosine| from which on a word holds.
_SIZES = ((0.5, "strongly "), (0.2, ""), (0.05, "slightly "))
SIDES = ("left", "right")


def verdict(pair: Json, alpha: float) -> str:
    """How the updates lie to each other, and whether their subspaces are shared beyond chance, in a few words."""
    if pair["left"]["tested"] == 0:
        return NOTHING
    return cosine_words(pair, alpha) + (f", {SHARED}" if beyond_chance(pair) else "")


def cosine_words(pair: Json, alpha: float) -> str:
    """The cosine by its size: below 0.05 practically independent, from 0.2 on agreeing or opposing, from 0.5 strongly.

    A question mark follows where independent updates, or ones with these subspaces, may have it by chance.
    """
    if pair["left"]["tested"] == 0:
        return NOTHING
    cosine = pair["cosine"]
    strength = next((word for least, word in _SIZES if abs(cosine) >= least), None)
    if strength is None:
        return INDEPENDENT
    return strength + (AGREEING if cosine > 0 else OPPOSING) + (DOUBT if _doubtful(pair, alpha) else "")


def beyond_chance(pair: Json, *sides: str) -> bool:
    """Whether any layer overlaps more than those of the panel do: rarer than alpha where all of it is chance."""
    return pair["null"]["kind"] == PANEL and any(pair[side]["beyond_null"] for side in sides or SIDES)


def decided(pair: Json) -> bool:
    """Whether the null has enough draws to decide of any layer."""
    return any(pair[side]["decided"] for side in SIDES)


def null_line(pair: Json) -> str:
    """What phi stands beside, in a line."""
    kind, n = pair["null"]["kind"], pair["null"]["draws"]
    random = " and ".join(f"{pair[side]['random']:.3f}" for side in SIDES if pair[side]["random"] is not None)
    if kind is None:
        why = _UNUSED if pair["null"]["panel"] else "there is no panel, and no two layers have one shape"
        return f"In brackets: random subspaces ({random}); {why}."
    what = "other pairs with the panel" if kind == PANEL else "mismatched layers"
    return f"In brackets: median of {_span(n)} {what}; phi of {_span(pair['null']['directions'])} directions."


def decision(pair: Json, alpha: float) -> list[str]:
    """In how many modules the overlap is beyond its null, or that this cannot be decided; nothing without a null."""
    kind, sides = pair["null"]["kind"], [pair[side] for side in SIDES]
    if kind is None:
        return []
    what = "Beyond chance" if kind == PANEL else "Above mismatched layers"
    left, right = (side["beyond_null"] for side in sides)
    of = max(side["decided"] for side in sides)
    end = "." if kind == PANEL else "; how much of it is the base's, only panel=[c,d,...] tells."
    if decided(pair):
        return [
            f"{what} in {left} (columns) and {right} (rows) of {of} modules (alpha {alpha:g} for all together){end}"
        ]
    n, least = pair["null"]["draws"][1], pair["null"]["smallest_p"]
    enough = (
        f"{smallest_panel(alpha)} in the panel" if kind == PANEL else f"{smallest_n(alpha) + 1} layers of one shape"
    )
    return [f"{what}: cannot be decided with n = {n}: p >= {_p(least)} > alpha {alpha:g}; it takes {enough}{end}"]


def read_pair(pair: Json, alpha: float) -> list[str]:
    """The reading: how the subspaces overlap, what a sum does, which is the larger, how training began."""
    if verdict(pair, alpha) == NOTHING:
        return ["No module is changed by both: there is nothing to compare, and a merge holds the two side by side."]
    return [
        *_overlap(pair, alpha),
        _random(pair, alpha),
        _expectation(pair, alpha),
        _sizes(pair),
        _initialisation(pair),
    ]


def shared_initialisation(significant: int, tested: int, p: float | None, alpha: float) -> bool:
    """Whether the pattern of two adapters trained from one seed is there.

    Training starts at B = 0 and a random A, so that a seed in common leaves row spaces (right) alike and tells nothing
    about column spaces (left). The pattern: the right overlap is more than that of random subspaces in most of the
    modules, and exceeds the left one, each less that of random subspaces, in more modules than fair coins would give
    (one-sided sign test). Adapters with seeds of their own show the opposite: what they share, they share on the left.

    Args:
        significant, tested: modules whose right overlap is more than random, and all of them.
        p: of the sign test; None if no module could be compared.
        alpha: significance level.
    """
    return p is not None and p <= alpha and 2 * significant > tested


def _overlap(pair: Json, alpha: float) -> list[str]:
    """The overlap beside its null; nothing without one."""
    null, sides = pair["null"], [pair[side] for side in SIDES]
    if null["kind"] is None:
        return [f"Beyond chance: cannot be decided; {_UNUSED}."] if null["panel"] else []
    k = _span(null["directions"])
    of = "other pairs with the panel" if null["kind"] == PANEL else "layers that do not belong together"
    parts = "; ".join(
        f"{name} spaces phi {side['null_phi']:.3f} beside {side['null_median']:.3f}, {side['effect']:+.1f} times the "
        f"spread, p {_p(side['p'])}"
        for name, side in zip(("column", "row"), sides, strict=True)
        if side["null_phi"] is not None
    )
    sentence = f"Overlap of {k} leading directions beside that of {_span(null['draws'])} {of}: {parts}."
    return [sentence, *decision(pair, alpha)]


def _random(pair: Json, alpha: float) -> str:
    """What random subspaces say, and that it is little."""
    left, right = (pair[side] for side in SIDES)
    often = ", as adapters of one base often have, whatever their tasks" if left["beyond_random"] else ""
    return (
        f"Random subspaces: column spaces phi {left['phi']:.3f} beside {left['random']:.3f}, row spaces "
        f"{right['phi']:.3f} beside {right['random']:.3f}: more in {left['beyond_random']} and "
        f"{right['beyond_random']} of {left['tested']} modules (Holm, alpha {alpha:g}){often}."
    )


def _expectation(pair: Json, alpha: float) -> str:
    cosine, spread = pair["cosine"], pair["cosine_null_sd"]
    words = cosine_words(pair, alpha)
    times = "without any spread"
    if spread:
        times = f"{two_digits(abs(cosine) / spread)} times its spread for random directions"
    changes = " and ".join(
        f"{_percent(change)} of #{number + 1}" for number, change in zip(pair["pair"], pair["in_sum"], strict=True)
    )
    start = f"{words.removesuffix(DOUBT).capitalize()}: the cosine of the updates is {cosine:+.2g} ({times})"
    if words == INDEPENDENT:
        return f"{start}; in a plain sum {changes}."
    outcome = "reinforcement" if cosine > 0 else "cancellation"
    return (
        f"{start}, positive in {pair['agreeing']} of {pair['left']['tested']} modules: expect {outcome} in a plain "
        f"sum, {changes}." + (_doubt(pair) if words.endswith(DOUBT) else "")
    )


def _doubt(pair: Json) -> str:
    spread = max(pair["cosine_shared_sd"], pair["cosine_null_sd"])
    return (
        f" The sign itself may be chance: directions paired at random inside the same subspaces spread the cosine by "
        f"{spread:.1g}."
    )


def _doubtful(pair: Json, alpha: float) -> bool:
    """Where subspaces overlap a lot, the signs of a few pairs of directions decide that of the cosine."""
    return abs(pair["cosine"]) <= max(pair["cosine_shared_sd"], pair["cosine_null_sd"]) / sqrt(alpha)


def _span(values: Any) -> str:
    low, high = values
    return f"{low}" if low == high else f"{low} to {high}"


def _sizes(pair: Json) -> str:
    first, second = (number + 1 for number in pair["pair"])
    ratio = pair["norm_ratio"]
    share = 100 / (1 + ratio**2)
    return (
        f"Size: #{second} has {two_digits(ratio)} times the norm of #{first}; at equal weights #{first} brings "
        f"{share:.0f} % of the energy."
    )


def _initialisation(pair: Json) -> str:
    shared = pair["shared_initialisation"]
    p = "" if shared["p"] is None else f" (sign test p {_p(shared['p'])})"
    numbers = (
        f"row overlap exceeds column overlap, each less that of random subspaces, in {shared['right_above_left']} of "
        f"{shared['modules']} modules{p}"
    )
    if not shared["detected"]:
        return f"No pattern of a shared initialisation: {numbers}."
    return (
        f"Warning: the pattern of a shared initialisation: {numbers}, and is more than random in "
        f"{shared['right_beyond_random']} of {pair['right']['tested']}. Adapters trained from one seed share row "
        f"spaces whatever their tasks: judge by the column spaces."
    )


def _percent(value: float) -> str:
    return f"{'+' if value > 0 else ''}{two_digits(100 * value)} %"


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-99 else "< 1e-99"
