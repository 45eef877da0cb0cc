"""Singular values of a product of a tall and a wide matrix, without the product.

b = any leading dimensions, m = out, n = in, r = rank, k = min(m, n, r).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class ProductSVD(NamedTuple):
    """X Y = U diag(σ) Vᵀ."""

    left: Tensor  # U (b, m, k)
    values: Tensor  # σ (b, k), largest first
    right: Tensor  # V (b, n, k)


def product_svd(up: Tensor, down: Tensor) -> ProductSVD:
    """The thin singular value decomposition of X Y, in float64: by QR of the factors and an SVD of an r x r matrix.

    What the factors have in common and what nearly cancels in them is kept to the accuracy of float64, which a Gram
    matrix of a factor would square away.

    Args:
        up: X (b, m, r), of any dtype.
        down: Y (b, r, n).
    """
    left, inner_left = torch.linalg.qr(up.double())
    right, inner_right = torch.linalg.qr(down.double().mT)
    U, values, Vt = torch.linalg.svd(inner_left @ inner_right.mT, full_matrices=False)
    return ProductSVD(left @ U, values, right @ Vt.mT)
