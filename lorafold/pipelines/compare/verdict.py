"""What the numbers of a pair of adapters say, in plain language: every sentence names what it rests on.

It reads one entry of `summary.pairs` of a comparison's metrics, and the significance level alpha. Three questions
decide, and each is a test, not a threshold on the size of an effect:

- do the subspaces overlap beyond chance? Fisher's combined p-value of a side, against alpha;
- do the updates agree or oppose each other? Independent updates have a cosine of mean 0 and known spread, whatever
  their spectra, so that by Chebyshev |cosine| > spread / √alpha is rarer than alpha. The same with the spread that
  remains when the subspaces are given tells whether the sign itself is more than a consequence of their overlap;
- are the row spaces alike only because training began alike? See `shared_initialisation`.

Sizes of effects are given as numbers: small ones can be far beyond chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any

Json = Mapping[str, Any]

APART = "nearly orthogonal"
UNSIGNED = "shared, no common sign"
AGREEING = "agreeing"
OPPOSING = "opposing"
NOTHING = "nothing in common"
DOUBT = "?"  # after a sign that may be chance


def verdict(pair: Json, alpha: float) -> str:
    """What to expect of a sum of the two, in a few words."""
    if pair["left"]["tested"] == 0:
        return NOTHING
    if sign := _sign(pair, alpha):
        return sign + (DOUBT if _doubtful(pair, alpha) else "")
    beyond = any(pair[side]["p_combined"] <= alpha for side in ("left", "right"))
    return UNSIGNED if beyond else APART


def read_pair(pair: Json, alpha: float) -> list[str]:
    """The reading: how the subspaces overlap, what a sum does, which is the larger, how training began."""
    if verdict(pair, alpha) == NOTHING:
        return ["No module is changed by both: there is nothing to compare, and a merge holds the two side by side."]
    return [_overlap(pair, alpha), _expectation(pair, alpha), _sizes(pair), _initialisation(pair)]


def shared_initialisation(significant: int, tested: int, p: float | None, alpha: float) -> bool:
    """Whether the pattern of two adapters trained from one seed is there.

    Training starts at B = 0 and a random A, so that a seed in common leaves row spaces (right) alike and tells nothing
    about column spaces (left). The pattern: the right overlap is significant in most of the modules, and exceeds the
    left one, each less its chance level, in more modules than fair coins would give (one-sided sign test). Adapters
    with seeds of their own show the opposite: what they share, they share on the left.

    Args:
        significant, tested: modules whose right overlap is significant, and all of them.
        p: of the sign test; None if no module could be compared.
        alpha: significance level.
    """
    return p is not None and p <= alpha and 2 * significant > tested


def _overlap(pair: Json, alpha: float) -> str:
    left, right = (
        f"{name} spaces phi {side['phi']:.3f} ({side['chance']:.3f} by chance), beyond chance in "
        f"{side['significant']} of {side['tested']} modules"
        for name, side in (("column", pair["left"]), ("row", pair["right"]))
    )
    return f"Overlap: {left}; {right} (Holm, alpha {alpha:g})."


def _expectation(pair: Json, alpha: float) -> str:
    if sign := _sign(pair, alpha):
        return _signed(pair, sign, alpha)
    left, right = (_p(pair[side]["p_combined"]) for side in ("left", "right"))
    within = (
        f"the cosine {pair['cosine']:+.2g} of the updates is within {1 / sqrt(alpha):.1f} times its spread by chance "
        f"({pair['cosine_null_sd']:.1g})"
    )
    if verdict(pair, alpha) == APART:
        return (
            f"Nearly orthogonal: the overlap is that of chance (combined p {left} for columns, {right} for rows) and "
            f"{within}: a sum keeps both."
        )
    return (
        f"Shared subspace without a common sign: the overlap is beyond chance (combined p {left} for columns, {right} "
        f"for rows), but {within}: on the whole a sum neither reinforces nor cancels."
    )


def _signed(pair: Json, sign: str, alpha: float) -> str:
    cosine, spread = pair["cosine"], pair["cosine_null_sd"]
    outcome = "reinforcement" if sign == AGREEING else "cancellation"
    changes = " and ".join(
        f"{_percent(change)} of #{number + 1}" for number, change in zip(pair["pair"], pair["in_sum"], strict=True)
    )
    return (
        f"Shared subspace with {sign} sign: the cosine {cosine:+.2g} of the updates is "
        f"{_short(abs(cosine) / spread)} times its spread by chance ({spread:.1g}), positive in {pair['agreeing']} of "
        f"{pair['left']['tested']} modules: expect {outcome} in a plain sum, {changes}."
        + (_doubt(pair) if _doubtful(pair, alpha) else "")
    )


def _doubt(pair: Json) -> str:
    return (
        f" The sign itself may be chance: directions paired at random inside the same subspaces spread the cosine by "
        f"{pair['cosine_shared_sd']:.1g}."
    )


def _sign(pair: Json, alpha: float) -> str:
    """What to say of a cosine beyond that of independent updates; else empty."""
    if abs(pair["cosine"]) <= pair["cosine_null_sd"] / sqrt(alpha):
        return ""
    return AGREEING if pair["cosine"] > 0 else OPPOSING


def _doubtful(pair: Json, alpha: float) -> bool:
    """Where subspaces overlap a lot, the signs of a few pairs of directions decide that of the cosine."""
    return abs(pair["cosine"]) <= pair["cosine_shared_sd"] / sqrt(alpha)


def _sizes(pair: Json) -> str:
    first, second = (number + 1 for number in pair["pair"])
    ratio = pair["norm_ratio"]
    share = 100 / (1 + ratio**2)
    return (
        f"Size: #{second} has {_short(ratio)} times the norm of #{first}; at equal weights #{first} brings "
        f"{share:.0f} % of the energy."
    )


def _initialisation(pair: Json) -> str:
    shared = pair["shared_initialisation"]
    p = "" if shared["p"] is None else f" (sign test p {_p(shared['p'])})"
    numbers = (
        f"row overlap exceeds column overlap, each less chance, in {shared['right_above_left']} of {shared['modules']} "
        f"modules{p}"
    )
    if not shared["detected"]:
        return f"No pattern of a shared initialisation: {numbers}."
    return (
        f"Warning: the pattern of a shared initialisation: {numbers}, and is beyond chance in "
        f"{shared['right_significant']} of {pair['right']['tested']}. Adapters trained from one seed share row spaces "
        f"whatever their tasks: judge by the column spaces."
    )


def _percent(value: float) -> str:
    return f"{'+' if value > 0 else ''}{_short(100 * value)} %"


def _short(value: float) -> str:
    """Two digits, and no exponent for large numbers."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2g}"


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-99 else "< 1e-99"
