"""pico: its norm, and what it does to directions that are shared."""

from __future__ import annotations

import pytest
import torch

from tests.builders import Source
from tests.core_rules.applying import bound

RULE = bound("pico")


def test_the_norm_is_the_mean_of_the_adapters_norms():
    cores = Source(1).normal(4, 3, 6, 6)
    merged = RULE(cores, torch.full((4, 3), 1 / 3, dtype=torch.float64))
    torch.testing.assert_close(
        torch.linalg.matrix_norm(merged), torch.linalg.matrix_norm(cores).mean(1), rtol=1e-12, atol=0
    )


def test_a_shared_output_direction_loses_against_the_others():
    """Both write e_0 with 1, and e_1 or e_2 with 1: shares 1/2, 1/4, 1/4 of BBᵀ, hence α = 2/3, 4/5, 4/5."""
    cores = torch.zeros(1, 2, 4, 4, dtype=torch.float64)
    cores[0, 0, 0, 0] = cores[0, 0, 1, 1] = cores[0, 1, 0, 2] = cores[0, 1, 2, 3] = 1.0
    merged = RULE(cores, torch.ones(1, 2).double())[0]
    rows = torch.linalg.vector_norm(merged, dim=1)
    assert float(rows[0] / rows[1]) == pytest.approx(2**0.5 * (2 / 3) / (4 / 5), rel=1e-12)
    assert float(rows[1]) == pytest.approx(float(rows[2]), rel=1e-12)


def test_what_rounding_leaves_of_a_sum_that_cancels_is_not_scaled_up():
    cores = Source(2).normal(1, 1, 6, 6).expand(1, 3, 6, 6)
    assert not RULE(cores, torch.tensor([[0.1, 0.2, -0.3]], dtype=torch.float64)).any()
