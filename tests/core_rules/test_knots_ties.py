"""knots_ties: KnOTS in full space on the left, and `ties` in the canonical gauge."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lorafold
from lorafold.common.errors import LorafoldError
from lorafold.pipelines.merge.combine import canonical_gauge
from tests.builders import Source, random_adapter
from tests.core_rules.applying import bound
from tests.core_rules.entry_oracles import ORACLES
from tests.core_rules.full_space import cases
from tests.oracles import updates

OPTIONS = {"density": 0.3, "elect": "weighted"}
WEIGHTS = {"mean": [1 / 3] * 3, "unequal": [0.7, 0.2, 0.5], "signed": [1.0, -0.4, 0.6]}
CASES = {name: case for name, case in cases().items() if name != "one lacks the module"}


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_papers_formula_on_the_left(weights, case):
    """[ΔW_1 V|...|ΔW_N V] = U Σ [V_1ᵀ|...|V_Nᵀ] with U in full space, and the columns of the merged subspace."""
    wide = np.concatenate([update.numpy() @ case.right.numpy() for update in case.updates], 1)
    U = np.linalg.svd(wide)[0]
    # square parts, to have the rule's number of entries to choose from: rows without update beyond the rank
    width = case.left.shape[1]
    U = np.pad(U, [(0, 0), (0, max(0, width - U.shape[1]))])[:, :width]
    parts = np.split(U.T @ wide, 3, axis=1)
    expected = U @ ORACLES["ties"](parts, weights, None, **OPTIONS) @ case.right.numpy().T
    found = case.merged(bound("knots_ties", **OPTIONS), weights)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


CORES = Source(2).normal(3, 3, 6, 6)
SIGNED = torch.tensor(WEIGHTS["signed"], dtype=torch.float64).expand(3, 3)


def test_a_turned_left_frame_turns_the_result():
    Q = Source(1).haar(3, 6, 6)
    rule = bound("knots_ties", **OPTIONS)
    torch.testing.assert_close(rule(Q[:, None] @ CORES, SIGNED), Q @ rule(CORES, SIGNED), rtol=0, atol=1e-12)


def test_in_the_canonical_gauge_it_is_ties():
    P, Q = canonical_gauge(CORES)
    turned = P.mT[:, None] @ CORES @ Q[:, None]
    torch.testing.assert_close(
        bound("knots_ties", **OPTIONS)(turned, SIGNED), bound("ties", **OPTIONS)(turned, SIGNED), rtol=0, atol=1e-12
    )


def test_a_merge_is_that_of_ties():
    adapters = [random_adapter("kohya", {"a": (9, 12), "b": (11, 7)}, rank, seed=rank) for rank in (2, 3)]
    knots, ties = (lorafold.merge(adapters, rank="max", core=name).adapter for name in ("knots_ties", "ties"))
    for name, update in updates(knots).items():
        torch.testing.assert_close(update, updates(ties)[name], rtol=0, atol=1e-9)


def test_a_density_of_zero_is_refused():
    with pytest.raises(LorafoldError, match=r"core\.density=0\.0"):
        bound("knots_ties", density=0.0)
