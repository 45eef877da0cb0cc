"""The reduction is exact: frames lifted back to full space are orthonormal and give every ΔW_i, at its dense rank."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lorafold.core_space import Layer, NonFiniteError
from lorafold.core_space._basis import orthonormal_basis
from tests.builders import Source, layer, random_layer
from tests.builders import one_thread as one_thread
from tests.core_space.lifted import drift, lifted, reduce_one
from tests.oracles import layer_update, numerical_rank, relative

# A single Cholesky pass is taken while κ² < 1e6, so rounding of the Gram matrix leaves some 1e6 x 1e-16.
ORTHONORMAL = 1e-9
S = Source(0)
LENGTHS = torch.logspace(0, -12, 4, dtype=torch.float64)
X, Y, Z, W = S.normal(20, 4), S.normal(4, 15), S.normal(20, 3), S.normal(3, 15)


def without(factor, *, columns):
    """A copy with zero columns."""
    return factor.index_fill(1, torch.tensor(columns), 0)


CASES = {
    "plain": layer([X, Z], [Y, W]),
    "one adapter": layer([X], [Y]),
    "three adapters": layer([X, Z, X + S.normal(20, 4)], [Y, W, S.normal(4, 15)]),
    "duplicated columns": layer([X[:, [0, 0, 1, 1]], Z], [Y, W]),
    "zero columns": layer([without(X, columns=[1, 3]), Z], [Y, W]),
    "zero row of down": layer([X, Z], [without(Y.mT, columns=[0]).mT, W]),
    "B = 0": layer([torch.zeros(20, 4), Z], [Y, W]),
    "A = 0": layer([X, Z], [torch.zeros(4, 15), W]),
    "B = 0 for both": layer([torch.zeros(20, 4), torch.zeros(20, 3)], [Y, W]),
    "scale 0": layer([X, Z], [Y, W], [0.0, 1.0]),
    "negative scale": layer([X, Z], [Y, W], [-2.0, 0.5]),
    "missing adapter": layer([torch.zeros(20, 0), Z], [torch.zeros(0, 15), W], [0.0, 1.0]),
    "identical adapters": layer([X, X], [Y, Y]),
    "identical but for the scale of the factors": layer([X, 1e12 * X], [Y, 1e-12 * Y]),
    "same left space": layer([X, X], [Y, S.normal(4, 15)]),
    "one space inside the other": layer([X, X[:, :3]], [Y, W]),
    "orthogonal left spaces": layer([torch.eye(20, 4).double(), torch.eye(20).double()[:, 4:7]], [Y, W]),
    "scales 1e-20 and 1e20": layer([X, Z], [Y, W], [1e-20, 1e20]),
    "factors of 1e-20 and 1e20": layer([1e-20 * X, 1e20 * Z], [1e-20 * Y, 1e20 * W]),
    "unbalanced factors": layer([1e15 * X, 1e-15 * Z], [1e-15 * Y, 1e15 * W]),
    "unbalanced columns": layer([X * LENGTHS, Z], [Y / LENGTHS[:, None], W]),
    "m = 3 < R = 12": random_layer(S, 3, 15, [7, 5]),
    "m = 3 and n = 2 < R = 12": random_layer(S, 3, 2, [7, 5]),
    "1 x 1": random_layer(S, 1, 1, [4, 3]),
    "rank 1": random_layer(S, 20, 15, [1, 1]),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_lifted_frames_are_orthonormal_and_reproduce_every_update(case: Layer):
    found = lifted(reduce_one(case))
    assert max(map(drift, found.bases)) < ORTHONORMAL
    for i, (U, V) in enumerate(found.frames):
        delta = layer_update(case, i)
        assert U.shape[1] == V.shape[1] == numerical_rank(delta)
        assert max(drift(U), drift(V)) < ORTHONORMAL
        assert relative(U @ found.cores[i] @ V.mT, delta) < 1e-9


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_dimensions_of_the_joint_spans_are_those_of_a_dense_svd(case: Layer):
    """Of the factors; of the updates where a factor's columns are dependent, for their span may be larger then."""
    batch = reduce_one(case)
    factors = (*case.tall("left"), *case.tall("right"))
    dependent = any(numerical_rank(unit(X), 1e-6) < int(X.norm(dim=0).count_nonzero()) for X in factors)
    updates = [layer_update(case, i) for i in range(len(case.scales))]
    for basis, side in ((batch.left, "left"), (batch.right, "right")):
        columns = [ΔW if side == "left" else ΔW.mT for ΔW in updates] if dependent else case.tall(side)
        assert int(basis.dims) == numerical_rank(torch.cat([*map(unit, columns)], 1), 1e-6)


def unit(X: torch.Tensor) -> torch.Tensor:
    """Columns of length 1: a zero column has no direction, any other its own whatever its length."""
    norms = X.double().norm(dim=0)
    return X.double() / norms.where(norms > 0, torch.ones(1).double())


ZERO = {
    "disjoint supports": ([without(X, columns=[2, 3]), Z], [without(Y.mT, columns=[0, 1]).mT, W]),
    "columns that cancel": ([torch.cat([X, -X], 1), Z], [torch.cat([Y, Y]), W]),
}


@pytest.mark.parametrize("factors", ZERO.values(), ids=ZERO)
def test_factors_whose_product_is_zero_have_no_subspace(factors):
    """What rounding leaves of ΔW_i, 1e-16 of ‖B_i‖‖A_i‖, is no direction of an adapter."""
    problem = reduce_one(layer(*factors)).problem
    assert problem.dims.tolist() == [[0, 3]]
    assert float(problem.energies[0, 0]) == 0


CONDITIONS = {"up": (1, 0), "down": (0, 1), "both": (1, 1)}


@pytest.mark.parametrize("where", CONDITIONS.values(), ids=CONDITIONS)
@pytest.mark.parametrize(("condition", "tolerance"), [(1e3, 1e-9), (1e5, 1e-6), (1e8, 1e-6)])
def test_ill_conditioned_factors(condition, tolerance, where):
    source = Source(int(condition))
    up = source.conditioned(30, 5, condition ** where[0])
    down = source.conditioned(5, 25, condition ** where[1])
    case = layer([up, source.normal(30, 3)], [down, source.normal(3, 25)])
    found = lifted(reduce_one(case))
    assert max(map(drift, found.bases)) < ORTHONORMAL
    for i, (U, V) in enumerate(found.frames):
        assert max(drift(U), drift(V)) < ORTHONORMAL
        assert relative(U @ found.cores[i] @ V.mT, layer_update(case, i)) < tolerance


@pytest.mark.parametrize("condition", [1e4, 1e5, 1e8])
def test_a_second_pass_mends_what_one_gram_matrix_cannot(condition):
    """Of twenty, as how far a single one drifts is the processor's way of rounding."""
    drifts = []
    for seed in range(20):
        source = Source(seed)
        up = source.conditioned(30, 5, condition)
        once = orthonormal_basis((up.mT @ up)[None])
        assert not bool(once.sound)
        drifts.append(drift(up @ once.transform[0]))
        batch = reduce_one(layer([up], [source.normal(5, 25)]))
        assert bool(batch.left.sound)
        assert drift(lifted(batch).bases[0]) < ORTHONORMAL
    assert max(drifts) > ORTHONORMAL


@pytest.mark.parametrize("condition", [1e1, 1e3, 1e5])
def test_an_ill_conditioned_gauge_changes_nothing(condition):
    """(B G, G⁻¹ A): the factors are ill-conditioned, their product is not."""
    source = Source(1)
    up, gauge, down = source.normal(30, 4), source.conditioned(4, 4, condition), source.normal(4, 25)
    case = layer([up @ gauge, source.normal(30, 3)], [torch.linalg.inv(gauge) @ down, source.normal(3, 25)])
    found = lifted(reduce_one(case))
    U, V = found.frames[0]
    assert U.shape[1] == 4
    assert relative(U @ found.cores[0] @ V.mT, up @ down) < 1e-9


@pytest.mark.parametrize("distance", [1e-2, 1e-4, 1e-8, 1e-12, 0.0])
def test_nearly_identical_adapters(distance):
    """Directions in which adapters differ by less than the span tolerance, 1e-6, are dropped, and no more."""
    source = Source(2)
    case = layer(
        [X, X + distance * source.normal(20, 4)],
        [Y, Y + distance * source.normal(4, 15)],
    )
    batch = reduce_one(case)
    found = lifted(batch)
    assert max(map(drift, found.bases)) < ORTHONORMAL
    assert int(batch.left.dims) == (8 if distance >= 1e-4 else 4)
    for i, (U, V) in enumerate(found.frames):
        error = relative(U @ found.cores[i] @ V.mT, layer_update(case, i))
        assert error < (1e-9 if distance >= 1e-4 else 1e-9 + 4 * distance)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_the_numbers_of_a_file_are_taken_as_they_are(dtype):
    """In whatever dtype: nothing is rounded on the way in."""
    case = layer([X.to(dtype), Z.to(dtype)], [Y.to(dtype), W.to(dtype)], [0.5, 2.0])
    found = lifted(reduce_one(case))
    for i, (U, V) in enumerate(found.frames):
        assert relative(U @ found.cores[i] @ V.mT, layer_update(case, i)) < 1e-13


def test_adapters_of_different_dtypes():
    case = layer([X.bfloat16(), Z.half()], [Y.float(), W.double()])
    found = lifted(reduce_one(case))
    for i, (U, V) in enumerate(found.frames):
        assert relative(U @ found.cores[i] @ V.mT, layer_update(case, i)) < 1e-13


def test_layers_of_all_shapes_in_one_batch_are_each_reduced_as_if_alone():
    source = Source(3)
    defective = random_layer(source, 3, 17, [4, 2])
    shapes = [(20, 15), (20, 15), (64, 15), (7, 40), (1, 1)]
    layers = [*(random_layer(source, m, n, [4, 2]) for m, n in shapes), defective, layer([X, Z * 0], [Y, W])]
    layers[-1] = layer([X, 0 * X[:, :2]], [Y, Y[:2]])
    batch = reduce_one(*layers)
    for row, alone in enumerate(layers):
        together, single = lifted(batch, row), lifted(reduce_one(alone))
        for i, (U, V) in enumerate(together.frames):
            assert relative(U @ together.cores[i] @ V.mT, layer_update(alone, i)) < 1e-9
            assert U.shape == single.frames[i][0].shape
            torch.testing.assert_close(U @ U.mT, single.frames[i][0] @ single.frames[i][0].mT, rtol=0, atol=1e-9)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("side", ["up", "down"])
def test_numbers_that_are_not_finite_are_refused(bad, side):
    factor = {"up": X.clone(), "down": Y.clone()}
    factor[side][1, 2] = bad
    with pytest.raises(NonFiniteError):
        reduce_one(layer([Z, factor["up"]], [W, factor["down"]]))


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    """Any shapes and ranks, scales of any size, factors of any magnitude with duplicated and zero columns."""
    source = Source(draw(st.integers(0, 2**20)))
    m, n = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    ups, downs, scales = [], [], []
    for _ in range(draw(st.integers(1, 3))):
        r = draw(st.integers(0, 6))
        up, down = source.normal(m, r), source.normal(r, n)
        if r:
            columns = draw(st.lists(st.integers(0, r - 1), min_size=r, max_size=r))
            up = up[:, columns] if draw(st.booleans()) else up
            up = without(up, columns=[draw(st.integers(0, r - 1))]) if draw(st.booleans()) else up
        if ups and ups[-1].shape[1] == r and draw(st.booleans()):
            up = ups[-1]
        exponents = draw(st.tuples(*[st.integers(-15, 15)] * 2))
        ups.append(up * 10.0 ** exponents[0])
        downs.append(down * 10.0 ** exponents[1])
        scales.append(draw(st.sampled_from([1.0, -1.0, 0.0])) * 10.0 ** draw(st.integers(-20, 20)))
    return layer(ups, downs, scales)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(layers())
def test_any_layer(case: Layer):
    test_lifted_frames_are_orthonormal_and_reproduce_every_update(case)
