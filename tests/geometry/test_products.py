"""The singular values of a product from its factors, against the dense product."""

from __future__ import annotations

import pytest
import torch

from lorafold.geometry.products import product_svd

SHAPES = {
    "tall and wide": (20, 3, 15),
    "more columns than outputs": (4, 8, 15),
    "than both": (4, 9, 3),
    "one": (1, 1, 1),
}


@pytest.mark.parametrize(("m", "r", "n"), SHAPES.values(), ids=SHAPES)
def test_it_is_the_decomposition_of_the_dense_product(m, r, n):
    draw = torch.Generator().manual_seed(0)
    X, Y = torch.randn(2, m, r, generator=draw), torch.randn(2, r, n, generator=draw)
    U, sigma, V = product_svd(X, Y)
    dense = X.double() @ Y.double()
    torch.testing.assert_close((U * sigma[:, None]) @ V.mT, dense, rtol=0, atol=1e-12)
    k = min(m, r, n)
    torch.testing.assert_close(sigma[:, :k], torch.linalg.svdvals(dense)[:, :k], rtol=0, atol=1e-12)
    eye = torch.eye(U.shape[-1], dtype=torch.float64).expand(2, -1, -1)
    torch.testing.assert_close(U.mT @ U, eye, rtol=0, atol=1e-12)
    torch.testing.assert_close(V.mT @ V, eye, rtol=0, atol=1e-12)
    G = torch.randn(r, r, dtype=torch.float64, generator=draw)
    assert torch.allclose(product_svd(X @ G.to(X), Y).values, product_svd(X, G.to(Y) @ Y).values, atol=1e-4)
