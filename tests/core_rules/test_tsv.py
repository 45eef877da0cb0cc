"""tsv: which directions take part, and what becomes of dependent ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lorafold.common.errors import LorafoldError
from tests.builders import Source
from tests.core_rules.applying import bound
from tests.core_rules.spectral_oracles import polar

ONE = torch.ones(1, 3, dtype=torch.float64)


def of_rank(source: Source, size: int, rank: int) -> torch.Tensor:
    return source.haar(size, rank) @ source.conditioned(rank, rank, 10.0) @ source.haar(size, rank).T


@pytest.mark.parametrize(
    ("ranks", "counts"),
    [
        ((6, 6, 6), (2, 2, 2)),
        ((6, 1, 6), (2, 1, 2)),
        ((3, 2, 1), (3, 2, 1)),
        ((1, 1, 6), (1, 1, 4)),
        ((6, 0, 6), (3, 0, 3)),
    ],
    ids=str,
)
def test_fair_shares_of_the_room(ranks, counts):
    """Merged within six dimensions, with the counts worked out by hand."""
    s = Source(7)
    cores = [of_rank(s, 6, rank) for rank in ranks]
    sides: list[list[np.ndarray]] = [[], [], []]
    for core, count in zip(cores, counts, strict=True):
        U, sigma, Vt = np.linalg.svd(core.numpy())
        for side, part in zip(sides, (U[:, :count], sigma[:count], Vt[:count].T), strict=True):
            side.append(part)
    U, sigma, V = (np.concatenate(side, -1) for side in sides)
    found = bound("tsv")(torch.stack(cores)[None], ONE)[0]
    np.testing.assert_allclose(found.numpy(), polar(U) @ np.diag(sigma) @ polar(V).T, rtol=0, atol=1e-12)


@pytest.mark.parametrize("keep", ["fair", "all"])
def test_orthogonal_adapters_merge_to_their_sum(keep):
    U, V = Source(1).haar(6, 6), Source(2).haar(6, 6)
    cores = torch.stack(
        [U[:, i : i + 2] @ torch.diag(torch.tensor([3.0, 1.0]).double()) @ V[:, i : i + 2].T for i in (0, 2, 4)]
    )
    found = bound("tsv", keep=keep)(cores[None], torch.tensor([[1.0, -0.5, 2.0]], dtype=torch.float64))[0]
    torch.testing.assert_close(found, cores[0] - 0.5 * cores[1] + 2 * cores[2], rtol=0, atol=1e-12)


def test_an_adapter_given_twice_is_merged_to_itself():
    core = of_rank(Source(3), 6, 3)
    found = bound("tsv")(torch.stack([core, core])[None], ONE[:, :2])[0]
    torch.testing.assert_close(found, core, rtol=0, atol=1e-12)


def test_an_adapter_and_its_opposite_cancel():
    core = of_rank(Source(3), 6, 3)
    found = bound("tsv")(torch.stack([core, core])[None], torch.tensor([[1.0, -1.0]], dtype=torch.float64))[0]
    torch.testing.assert_close(found, 0 * core, rtol=0, atol=1e-13)


def test_another_word_is_refused():
    with pytest.raises(LorafoldError, match=r"core\.keep='some' is unknown"):
        bound("tsv", keep="some")
