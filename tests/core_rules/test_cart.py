"""cart: where it is the sum, and its options."""

from __future__ import annotations

import pytest
import torch

from lorafold.common.errors import LorafoldError
from tests.builders import Source
from tests.core_rules.applying import bound

CORES = Source(8).normal(4, 3, 8, 8)
EQUAL = torch.full((4, 3), 1 / 3, dtype=torch.float64)
SIGNED = torch.tensor([0.7, -0.2, 1.5], dtype=torch.float64).expand(4, 3)


@pytest.mark.parametrize(
    ("options", "weights"),
    [({"share": 0.0}, SIGNED), ({"strength": 0.0}, SIGNED), ({"share": 1.0}, EQUAL)],
    ids=["no departures", "no strength", "all departures, which cancel"],
)
def test_where_it_is_the_weighted_sum(options, weights):
    torch.testing.assert_close(
        bound("cart", **options)(CORES, weights), bound("sum")(CORES, weights), rtol=0, atol=1e-12
    )


def test_orthogonal_adapters_are_restored_to_full_strength():
    """Of T orthogonal updates of rank k, the k leading directions of X_i - X̄ are (1 - 1/T) X_i."""
    U, V = Source(1).haar(6, 6), Source(2).haar(6, 6)
    cores = torch.stack([U[:, i : i + 2] @ V[:, i : i + 2].T for i in (0, 2, 4)])
    merged = bound("cart", share=1 / 3)(cores[None], EQUAL[:1])[0]
    torch.testing.assert_close(merged, cores.sum(0), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": -0.1}, r"core\.share=-0\.1"),
        ({"share": 1.5}, r"core\.share=1\.5"),
        ({"strength": float("inf")}, r"core\.strength=inf"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(LorafoldError, match=message):
        bound("cart", **options)


@pytest.mark.parametrize(("share", "count"), [(0.28, 7), (0.29, 8), (0.2, 5), (0.12, 3)])
def test_a_share_that_is_a_whole_number_of_directions_is_not_rounded_up(share, count):
    """0.28 x 25 is 7.000000000000001. Of orthogonal updates, X_i - X̄ begins with the leading directions of X_i."""
    U, V = Source(1).haar(25, 25), Source(2).haar(25, 25)
    place = torch.tensor([*range(9), *range(8), *range(8)])
    sigma = 1.1 - 0.01 * place.double()
    cores = torch.stack([(U * sigma)[:, i:j] @ V[:, i:j].T for i, j in ((0, 9), (9, 17), (17, 25))])
    merged = bound("cart", share=share, strength=1.0)(cores[None], EQUAL[:1])[0]
    gains = ((place < count).double() * 2 + 1) / 3
    torch.testing.assert_close(merged, (U * sigma * gains) @ V.T, rtol=0, atol=1e-12)
