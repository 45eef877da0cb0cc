"""LyCORIS' products of low-rank matrices, LoHa and LoKr, as they stand in files of kohya names.

LoHa: `hada_w1_a` (m, r), `hada_w1_b` (r, n), likewise w2: ΔW = (w1_a w1_b) ∘ (w2_a w2_b) alpha / r. LoKr: ΔW = w1 ⊗ w2
times alpha / r, where `lokr_w1` (a, c) and `lokr_w2` (b, d, *kernel) are whole or products `_a` (·, r), `_b` (r, ·);
the scale is 1 where both are whole, whatever alpha says. Tucker forms have a core `hada_t1`, `hada_t2` or `lokr_t2`,
(r, r, *kernel), and store `_a` as (r, ·). Source: LyCORIS 4.1, `modules/{loha,lokr}.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lorafold.adapters.files.factor_pair import (
    LARGEST,
    alpha_value,
    check_complete,
    contract_tucker,
    factor_pair,
    floating,
)
from lorafold.adapters.files.finite import check_tensors
from lorafold.adapters.files.tensor_file import TensorFile
from lorafold.adapters.module import Module
from lorafold.adapters.parametrisations.matrix_products import Pair, Product, hadamard, kronecker
from lorafold.adapters.parametrisations.truncation import exactly
from lorafold.common.errors import LorafoldError

# A Kronecker product is factored without being computed. FLUX.2 [dev] has a layer of 55296 x 6144.
_LARGEST_KRONECKER = 2 * LARGEST
_EXPORT_AGAIN = "The file is damaged: download or export it again."
# Without a Tucker core a kernel is stored flattened, and nothing but the name tells it from a linear layer. These are
# the 3 x 3 convolutions of the U-Nets of SD 1.x, 2.x and SDXL, by diffusers' and by Stability's names.
_THREE_BY_THREE = re.compile(
    r".*_(?:resnets_\d+_conv[12]|samplers_\d+_conv|conv_in|conv_out"
    r"|in_layers_2|out_layers_3|blocks_\d+_\d_(?:op|conv)|input_blocks_0_0|out_2)"
)


@dataclass(frozen=True, eq=False)
class ProductLayer:
    """One layer whose update is a product of two matrices; called with a rank, it is factored.

    Args:
        tensors: what the product is made of, by key.
        kernel: () where it is linear.
    """

    name: str
    product: Product
    first: Pair
    second: Pair
    scale: float
    shape: tuple[int, int]  # (m, n)
    kernel: tuple[int, ...]
    file: TensorFile
    keys: tuple[str, ...]

    def __call__(self, rank: int | None) -> Module:
        """The layer with an update of at most this rank; None: exact.

        Raises:
            LorafoldError: NaN or Inf.
        """
        tensors = {key: self.file.tensors[key] for key in self.keys}
        check_tensors(tensors, self.file.path, "Training diverged; use an earlier checkpoint.")
        up, down, lost = self.product(self.first, self.second, rank)
        kind = "conv" if self.kernel else "linear"
        return Module(self.name, up, down, self.scale, self.kernel, kind=kind, lost=lost)


PARTS = r"hada_w[12]_[ab]|hada_t[12]|lokr_w[12](?:_[ab])?|lokr_t2"


def product_layer(file: TensorFile, name: str, keys: Mapping[str, str], scale: float | None = None) -> ProductLayer:
    """The layer of which `keys`, by part, are the tensors.

    Args:
        scale: as PEFT's configuration says; None: LyCORIS' rule.

    Raises:
        LorafoldError: parts that are missing, do not fit, or make an update too large to be one of a layer.
    """
    loha = any(part.startswith("hada") for part in keys)
    first, second, kernel, (m, n), rank = _loha(file, keys) if loha else _lokr(file, keys)
    most = LARGEST if loha else _LARGEST_KRONECKER
    if m * n > most:
        raise _misfit(file, keys, f"they make an update of {m} x {n}, expected at most {most} numbers")
    if scale is None:
        scale = alpha_value(file, keys["alpha"]) / rank if rank and "alpha" in keys else 1.0
    used = tuple(key for part, key in keys.items() if part.startswith(("hada", "lokr")))
    product = hadamard if loha else kronecker
    return ProductLayer(name, product, first, second, scale, (m, n), kernel or _kernel(name, n), file, used)


# The two matrices, the kernel, (m, n), and the rank that alpha refers to, if it does.
_Parts = tuple[Pair, Pair, tuple[int, ...], tuple[int, int], int | None]


def _loha(file: TensorFile, keys: Mapping[str, str]) -> _Parts:
    (first, kernel), (second, _) = (_product(file, keys, f"hada_w{i}", f"hada_t{i}") for i in (1, 2))
    shape, other = ((len(up), down.shape[1]) for up, down in (first, second))
    if shape != other:
        raise _misfit(file, keys, f"one factor is {shape}, the other {other}")
    return first, second, kernel, shape, _one_rank(file, keys, first, second)


def _lokr(file: TensorFile, keys: Mapping[str, str]) -> _Parts:
    (first, _), (second, kernel) = _matrix(file, keys, "lokr_w1"), _matrix(file, keys, "lokr_w2", "lokr_t2")
    shape = len(first[0]) * len(second[0]), first[1].shape[1] * second[1].shape[1]
    decomposed = [pair for pair, part in ((first, "lokr_w1"), (second, "lokr_w2")) if part not in keys]
    return first, second, kernel, shape, _one_rank(file, keys, *decomposed) if decomposed else None


def _matrix(file: TensorFile, keys: Mapping[str, str], part: str, core: str = "") -> tuple[Pair, tuple[int, ...]]:
    """A pair of factors and its kernel; of a whole matrix, that and an identity."""
    if part not in keys:
        return _product(file, keys, part, core)
    whole = floating(file, keys[part])
    if not 2 <= whole.ndim <= 5 or any(f"{part}_{letter}" in keys for letter in "ab"):
        raise _misfit(file, keys, f"{keys[part]} of shape {tuple(whole.shape)}, expected one matrix or one pair")
    return exactly(whole.flatten(1))[:2], tuple(whole.shape[2:])


def _product(file: TensorFile, keys: Mapping[str, str], part: str, core: str) -> tuple[Pair, tuple[int, ...]]:
    """`part`_a and `part`_b as up (m, r) and down (r, n), with the core, if there is one, contracted into down."""
    a, b = f"{part}_a", f"{part}_b"
    check_complete(file, keys, (a, b))
    if core not in keys:
        up, down = factor_pair(file, keys[a], keys[b])
        return (up, down.flatten(1)), tuple(down.shape[2:])
    up, down = (floating(file, keys[key]) for key in (a, b))
    if up.ndim != 2 or down.ndim != 2 or len(up) != len(down):
        raise _misfit(
            file, keys, f"shapes {tuple(up.shape)} and {tuple(down.shape)} beside a core, expected two (r, ·)"
        )
    down = contract_tucker(file, keys[core], down)
    return (up.mT, down.flatten(1)), tuple(down.shape[2:])


def _one_rank(file: TensorFile, keys: Mapping[str, str], *pairs: Pair) -> int:
    """The r of alpha / r."""
    ranks = {up.shape[1] for up, _ in pairs}
    if len(ranks) > 1:
        raise _misfit(file, keys, f"factors of ranks {sorted(ranks)}, expected one for alpha / rank")
    return ranks.pop()


def _kernel(name: str, n: int) -> tuple[int, ...]:
    return (3, 3) if n % 9 == 0 and _THREE_BY_THREE.fullmatch(name.replace(".", "_")) else ()


def _misfit(file: TensorFile, keys: Mapping[str, str], problem: str) -> LorafoldError:
    return LorafoldError(problem, path=file.path, key=next(iter(keys.values())), remedy=_EXPORT_AGAIN)
