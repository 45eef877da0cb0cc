"""Published methods by name: what they reproduce, from dense matrices; and that command and library agree on them.

m = out, n = in, r = rank, N = adapters.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import lorafold
from lorafold.cli.config import read
from lorafold.commands.merge.config import MergeConfig
from lorafold.common.errors import LorafoldError
from lorafold.common.options import choice, choices
from lorafold.pipelines.merge.combine import noise
from lorafold.pipelines.merge.settings import MergeSettings
from tests.builders import changed, random_adapter
from tests.builders import one_thread as one_thread
from tests.cli.test_config import composed
from tests.core_rules import entry_oracles, spectral_oracles, whole_oracles
from tests.core_rules.test_core_ties import authors
from tests.demo_pair import change
from tests.oracles import relative, truncations, updates

SHAPES = {"a": (20, 15), "b": (14, 30)}
GROUPS = ("objective", "manifold", "solver", "core")
METHODS = pytest.mark.parametrize("name", choices("method"))
TIGHT = {"name": "alternating", "tol": 1e-10, "max_sweeps": 5000}
R = 4


def trio(ranks=(4, 3, 5)) -> list[lorafold.Adapter]:
    return [random_adapter("kohya", SHAPES, r, seed=r + i, scale=0.5 * (i + 1)) for i, r in enumerate(ranks)]


def dense(adapters: list[lorafold.Adapter], module: str) -> list[np.ndarray]:
    return [updates(adapter)[module].numpy() for adapter in adapters]


def top(gram: np.ndarray, r: int) -> np.ndarray:
    """The leading eigenvectors, in descending order."""
    return np.linalg.eigh(gram)[1][:, ::-1][:, :r]


def hosvd(deltas: list[np.ndarray], r: int) -> tuple[np.ndarray, np.ndarray]:
    return top(sum(X @ X.T for X in deltas), r), top(sum(X.T @ X for X in deltas), r)


def svd(deltas, _):
    return sum(deltas) / len(deltas)


def ctm(deltas, _):
    """Rescale, HOOI; TIES of the updates as they are, in the basis of the rescaled ones' higher-order SVD; back."""
    sizes = [np.linalg.norm(X) for X in deltas]
    rescaled = [X / s * (0.25 * s + 0.75 * np.mean(sizes)) for X, s in zip(deltas, sizes, strict=True)]
    source = np.random.default_rng(0)
    first = [hosvd(rescaled, R)[1], *(np.linalg.qr(source.normal(size=(len(deltas[0].T), R)))[0] for _ in range(8))]
    U, V = max((hooi(rescaled, V) for V in first), key=lambda pair: kept(rescaled, *pair))
    P, Q = hosvd([U.T @ X @ V for X in rescaled], R)
    U, V = U @ P, V @ Q
    cores = [U.T @ X @ V for X in deltas]
    return 0.75 * U @ entry_oracles.ties(cores, [1 / 3] * 3, None, density=0.25, elect="weighted") @ V.T


def hooi(deltas: list[np.ndarray], V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Higher-order orthogonal iteration from V, to the end: it has more than one."""
    for _ in range(2000):
        U = top(sum(X @ V @ V.T @ X.T for X in deltas), R)
        V = top(sum(X.T @ U @ U.T @ X for X in deltas), R)
    return U, V


def kept(deltas: list[np.ndarray], U: np.ndarray, V: np.ndarray) -> float:
    return sum(np.linalg.norm(U.T @ X @ V) ** 2 for X in deltas)


def entries(rule: str):
    def merged(deltas, module):
        U, V = hosvd(deltas, 12)
        options = {key: value for key, value in choice("core", rule).items() if key != "name"}
        draws = noise([module], (3, 12, 12), 0)[0].numpy()
        return U @ entry_oracles.ORACLES[rule]([U.T @ X @ V for X in deltas], [1 / 3] * 3, draws, **options) @ V.T

    return merged


def knots_ties(deltas, module):
    """The part of one module: what is trimmed is a whole adapter."""
    all_modules = [{name: dense([adapter], name)[0] for name in SHAPES} for adapter in trio()]
    return whole_oracles.knots_ties(all_modules, [1.0] * 3, 0.2)[module]


def core_ties(_, module):
    return authors(trio(), [1.0] * 3, module).numpy()


def spectral(rule: str):
    options = {key: value for key, value in choice("core", rule).items() if key != "name"}
    return lambda deltas, _: spectral_oracles.ORACLES[rule](deltas, [1.0] * 3, **options)


def iso_cts(deltas, _):
    """All directions are as strong as each other; those are kept in which the sum is strongest."""
    W, M = spectral("iso_cts")(deltas, _), sum(deltas)
    U, _, Vt = np.linalg.svd(W)
    B = U[:, :12].T @ M @ Vt[:12].T
    Z = top(B + B.T, R)
    return U[:, :12] @ Z @ Z.T @ U[:, :12].T @ W


def core_iso(deltas, _):
    U, s, Vt = np.linalg.svd(sum(deltas))
    return s[:12].mean() * U[:, :R] @ Vt[:R]


def flag_mean(deltas, _):
    factors = [np.linalg.svd(X) for X in deltas]
    k = [np.linalg.matrix_rank(X) for X in deltas]
    U = top(sum(f[0][:, :i] @ f[0][:, :i].T for f, i in zip(factors, k, strict=True)), R)
    V = top(sum(f[2][:i].T @ f[2][:i] for f, i in zip(factors, k, strict=True)), R)
    return U @ U.T @ (sum(deltas) / 3) @ V @ V.T


DENSE = {
    "svd": svd,
    "ctm": ctm,
    "core_ties": core_ties,
    "core_dare_ties": entries("dare_ties"),
    "knots_ties": knots_ties,
    "core_tsv": spectral("tsv"),
    "core_iso": core_iso,
    "iso_cts": iso_cts,
    "core_wudi": spectral("wudi"),
    "flag_mean": flag_mean,
}


@pytest.mark.parametrize("name", DENSE)
def test_a_method_is_its_formula_on_dense_matrices(name):
    """Cut to the rank by a truncated SVD, where it has more."""
    result = lorafold.merge(trio(), lorafold.recipe(name, rank=R, solver=TIGHT))
    for module in SHAPES:
        merged = torch.from_numpy(DENSE[name](dense(trio(), module), module).copy())
        assert relative(updates(result.adapter)[module], truncations(merged, [R])[0]) < 1e-6


def test_balanced_is_wudi_at_norms_brought_together():
    """Norms are those of whole adapters; the strength is set after the cut to the rank."""
    deltas = {module: dense(trio(), module) for module in SHAPES}
    norms = np.array([np.sqrt(sum(np.linalg.norm(deltas[module][i]) ** 2 for module in SHAPES)) for i in range(3)])
    level = norms**0.3 * norms.mean() / np.mean(norms**0.3)
    merged, left = {}, 0.0
    for module in SHAPES:
        balanced = [c * X for c, X in zip(level / norms, deltas[module], strict=True)]
        merged[module] = truncations(torch.from_numpy(spectral("wudi")(balanced, module).copy()), [R])[0]
        U, _, Vt = np.linalg.svd(merged[module].numpy())
        left += sum(np.linalg.norm(U[:, :R].T @ X @ Vt[:R].T) ** 2 for X in balanced) / 3
    strength = np.sqrt(left / sum(float(delta.square().sum()) for delta in merged.values()))
    result = lorafold.merge(trio(), lorafold.recipe("balanced", rank=R, solver=TIGHT))
    assert result.scale == pytest.approx(strength, rel=1e-9)
    for module, found in updates(result.adapter).items():
        assert relative(found, strength * merged[module]) < 1e-6


def test_the_geodesic_mean_is_where_the_logarithms_cancel():
    adapters = trio((4, 4, 4))
    result = lorafold.merge(adapters, lorafold.recipe("geodesic_mean", rank=R, solver=TIGHT))
    for module in SHAPES:
        found, deltas = updates(result.adapter)[module].numpy(), dense(adapters, module)
        U = karcher_point(found, deltas)
        V = karcher_point(found.T, [X.T for X in deltas])
        assert relative(torch.from_numpy(found), torch.from_numpy(U @ U.T @ sum(deltas) / 3 @ V @ V.T)) < 1e-6


def karcher_point(found: np.ndarray, deltas: list[np.ndarray]) -> np.ndarray:
    """The column space of a merged update, having checked that Σ Log_U(U_i) = 0 there."""
    U, logs = np.linalg.svd(found)[0][:, :R], []
    for X in deltas:
        Y = np.linalg.svd(X)[0][:, :R]
        P, tan, Qt = np.linalg.svd((Y - U @ U.T @ Y) @ np.linalg.inv(U.T @ Y), full_matrices=False)
        logs.append(P @ np.diag(np.arctan(tan)) @ Qt)
    assert np.linalg.norm(sum(logs)) < 1e-6 * np.linalg.norm(logs[0])
    return U


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "geodesic_mean")) for name in choices("method")]
)
def test_neither_order_nor_a_common_factor_matters(name):
    settings = lorafold.recipe(name, rank=R, solver=TIGHT)
    one = lorafold.merge(trio(), settings)
    if name != "core_dare_ties":  # which drops entries by position
        assert change(lorafold.merge(trio()[::-1], settings), one) < 1e-6
    larger = [changed(adapter, lambda m: replace(m, scale=5 * m.scale)) for adapter in trio()]
    five = {module: 5 * delta for module, delta in updates(one.adapter).items()}
    found = updates(lorafold.merge(larger, settings).adapter)
    assert max(relative(delta, five[module]) for module, delta in found.items()) < 1e-6


def complete(settings: MergeSettings) -> MergeSettings:
    return replace(settings, **{group: choice(group, getattr(settings, group) or "sum") for group in GROUPS})


@METHODS
def test_the_command_and_the_library_agree(name):
    from_command = read(composed(f"method={name}"), MergeConfig).settings()
    assert complete(from_command) == complete(lorafold.recipe(name)) != complete(MergeSettings())


def test_what_is_asked_for_beside_a_method_holds():
    overrides = ("method=ctm", "core=tsv", "objective=geodesic", "scale=each", "rank=7", "subspace_weight=0.5")
    for order in (overrides, overrides[::-1]):
        found = complete(read(composed(*order), MergeConfig).settings())
        assert found.core == choice("core", "tsv")
        assert found.objective == choice("objective", {"name": "geodesic", "reconstruction": "each", "rescale": 0.25})
        assert (found.scale, found.rank, found.subspace_weight) == ("each", 7, 0.5)
    assert read(composed("method=ctm", "core.density=0.5"), MergeConfig).core["density"] == 0.5


def test_a_method_of_no_such_name():
    with pytest.raises(LorafoldError, match=r"unknown method 'core_tvs'\. Choose one of .*Did you mean 'core_tsv'\?"):
        lorafold.recipe("core_tvs")
