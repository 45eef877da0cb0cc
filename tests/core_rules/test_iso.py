"""iso_c and iso_cts: a flat spectrum, and the cases in which the second is the first."""

from __future__ import annotations

import pytest
import torch

from lorafold.common.errors import LorafoldError
from tests.builders import Source
from tests.core_rules.applying import bound

CORES = Source(8).normal(4, 3, 8, 8)
WEIGHTS = torch.tensor([0.7, -0.2, 1.5], dtype=torch.float64).expand(4, 3)


@pytest.mark.parametrize("name", ["iso_c", "iso_cts"])
def test_all_singular_values_are_equal(name):
    sigma = torch.linalg.svdvals(bound(name)(CORES, WEIGHTS))
    torch.testing.assert_close(sigma, sigma[:, :1].expand_as(sigma), rtol=1e-11, atol=0)


def test_iso_c_keeps_singular_vectors_and_the_sum_of_singular_values():
    total = (WEIGHTS[..., None, None] * CORES).sum(1)
    merged = bound("iso_c")(CORES, WEIGHTS)
    kept = torch.linalg.matrix_norm(total, "nuc")
    torch.testing.assert_close(torch.linalg.matrix_norm(merged, "nuc"), kept, rtol=1e-12, atol=0)
    # the polar factor is what total and merged share: their product with its transpose is symmetric and positive
    product = merged.mT @ total
    torch.testing.assert_close(product, product.mT, rtol=0, atol=1e-11)
    assert bool((torch.linalg.eigvalsh(product) > 0).all())


def test_iso_c_takes_no_null_directions():
    core = torch.diag(torch.tensor([3.0, 1.0, 0.0, 1e-9], dtype=torch.float64))
    expected = torch.diag(torch.tensor([2.0, 2.0, 0.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(bound("iso_c")(core[None, None], torch.ones(1, 1).double())[0], expected)


@pytest.mark.parametrize("name", ["iso_c", "iso_cts"])
def test_an_adapter_and_its_opposite_cancel(name):
    twice = torch.stack([CORES[:, 0], CORES[:, 0]], 1)
    merged = bound(name)(twice, torch.tensor([1.0, -1.0], dtype=torch.float64).expand(4, 2))
    torch.testing.assert_close(merged, 0 * merged, rtol=0, atol=1e-13)


def test_all_common_is_iso_c():
    torch.testing.assert_close(
        bound("iso_cts", common=1.0)(CORES, WEIGHTS), bound("iso_c")(CORES, WEIGHTS), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("common", [0.0, 0.3, 0.8])
def test_one_adapter_is_that_of_iso_c(common):
    one, weight = CORES[:, :1], WEIGHTS[:, :1]
    torch.testing.assert_close(
        bound("iso_cts", common=common)(one, weight), bound("iso_c")(one, weight), rtol=0, atol=1e-12
    )


def test_a_weak_adapter_gets_its_own_directions_at_full_size():
    """In the sum it is all but lost; here two of ten directions are kept for each of both."""
    U, V = Source(1).haar(10, 10), Source(2).haar(10, 10)
    strong, weak = U[:, :6] @ V[:, :6].T, 1e-3 * U[:, 6:] @ V[:, 6:].T
    merged = bound("iso_cts", common=0.5)(torch.stack([strong, weak])[None], torch.ones(1, 2).double())[0]
    gains = torch.linalg.svdvals(U[:, 6:].T @ merged @ V[:, 6:])
    assert int((gains > 0.9 * torch.linalg.svdvals(merged)[0]).sum()) == 2


@pytest.mark.parametrize("common", [-0.1, 1.1, float("nan")])
def test_other_shares_are_refused(common):
    with pytest.raises(LorafoldError, match=r"core\.common=.*from 0 to 1"):
        bound("iso_cts", common=common)


def test_an_adapter_inside_the_common_directions_adds_none():
    """What rounding leaves of it outside has no direction of its own."""
    U, V = Source(1).haar(12, 12), Source(2).haar(12, 12)
    common = (U[:, :4] * torch.tensor([8.0, 7.0, 6.0, 5.0]).double()) @ V[:, :4].T
    within, apart = 0.5 * common, U[:, 4:8] @ V[:, 4:8].T
    merged = bound("iso_cts", common=0.5)(torch.stack([common, within, apart])[None], torch.ones(1, 3).double())[0]
    sigma = torch.linalg.svdvals(merged)
    assert int((sigma > 1e-9).sum()) == 6  # of 8: 4 in common, 1 of 3 adapters' own, and none that is noise
