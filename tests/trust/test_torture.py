"""Numbers at the edge of what can be computed: no NaN, orthonormal bases, and a certificate that does not flatter."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import lorafold
from lorafold.adapters import Adapter
from lorafold.common.errors import LorafoldError
from lorafold.core_space._basis import SPAN_TOLERANCE
from tests import oracles
from tests.builders import Source, changed, random_adapter, single
from tests.builders import one_thread as one_thread

OBJECTIVES = ["chordal", "geodesic", "procrustes"]
M, N, R = 40, 30, 8


def drift(factor: Tensor) -> float:
    """How far the columns of U√S are from orthogonal, each relative to its own length."""
    wide = factor.double()
    size = wide.norm(dim=0)
    unit = wide[:, size > 0] / size[size > 0]
    return float((unit.mT @ unit - torch.eye(unit.shape[1], dtype=torch.float64)).abs().max()) if unit.numel() else 0.0


def pair(build: Callable[[Source], tuple[Tensor, Tensor]], scale: float = 1.0) -> list[Adapter]:
    """Two adapters of one module, in float32."""
    sources = Source(1), Source(2)
    factors = [build(source) for source in sources]
    return [single(up.float(), down.float(), scale) for up, down in factors]


def gaussian(source: Source) -> tuple[Tensor, Tensor]:
    return source.normal(M, R), source.normal(R, N)


def conditioned(condition: float) -> list[Adapter]:
    return pair(lambda source: (source.conditioned(M, R, condition), source.conditioned(R, N, condition)))


def clustered(gap: float) -> list[Adapter]:
    """Singular values 1 and 1 - gap, four times each."""
    sigma = torch.ones(R, dtype=torch.float64)
    sigma[R // 2 :] -= gap
    return pair(lambda source: (source.haar(M, R) * sigma, source.haar(N, R).mT))


def angled(angle: float) -> list[Adapter]:
    """All principal angles the same."""
    source = Source(0)
    Q, P = source.haar(M, 2 * R), source.haar(N, 2 * R)
    turn = torch.cat([torch.eye(R) * math.cos(angle), torch.eye(R) * math.sin(angle)]).double()
    return [single(Q[:, :R], P[:, :R].mT), single(Q @ turn, (P @ turn).mT)]


def twins(sign: float) -> list[Adapter]:
    first = pair(gaussian)[0]
    return [first, changed(first, lambda module: replace(module, scale=sign))]


def apart(scale: float) -> list[Adapter]:
    first, second = pair(gaussian)
    return [first, changed(second, lambda module: replace(module, scale=scale))]


CASES: dict[str, list[Adapter]] = {
    **{f"condition {c:g}": conditioned(c) for c in (1.0, 1e3, 1e6, 1e9, 1e12)},
    **{f"clustered, gap {gap:g}": clustered(gap) for gap in (0.0, 1e-15, 1e-9, 1e-5)},
    **{f"angle {name}": angled(angle) for name, angle in
       {"0": 0.0, "1e-9": 1e-9, "1e-4": 1e-4, "pi/2 - 1e-9": math.pi / 2 - 1e-9, "pi/2": math.pi / 2}.items()},
    "identical": twins(1.0), "opposite": twins(-1.0), "opposite but for 1e-7": twins(-1 + 1e-7),
    **{f"scale {s:g}": pair(gaussian, s) for s in (1e-30, 1e-12, 1e12, 1e30)},
    **{f"scales 1 and {s:g}": apart(s) for s in (1e-30, 1e-12, 1e12, 1e30)},
    **{f"factors of {s:g}": pair(lambda source, s=s: tuple(s * f for f in gaussian(source)))  # type: ignore[misc]
       for s in (1e-30, 1e-15, 1e15, 1e30)},
    "up of 1e30, down of 1e-30": pair(lambda source: (1e30 * source.normal(M, R), 1e-30 * source.normal(R, N))),
    "rank 1": pair(lambda source: (source.normal(M, 1), source.normal(1, N))),
    "full rank": pair(lambda source: (source.normal(M, N), source.normal(N, N))),
    "ranks beyond the layer": pair(lambda source: (source.normal(3, 50), source.normal(50, 2))),
    "1 x 1": pair(lambda source: (source.normal(1, 1), source.normal(1, 1))),
    "1 x n": pair(lambda source: (source.normal(1, 4), source.normal(4, 50))),
    "one direction often": pair(lambda source: (source.normal(M, 1).expand(M, R), source.normal(R, N))),
    "zero": [changed(adapter, lambda module: replace(module, up=0 * module.up)) for adapter in pair(gaussian)],
    "subnormal": pair(lambda source: (1e-42 * source.normal(M, R), source.normal(R, N))),
    "bfloat16": [changed(adapter, lambda module: replace(module, up=module.up.bfloat16(), down=module.down.bfloat16()))
                 for adapter in pair(gaussian)],
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("rank", [1, 4, "max"])
def test_nothing_breaks(case: str, objective: str, rank: int | str) -> None:
    result = lorafold.merge(CASES[case], rank=rank, objective=objective, dtype="float32")
    module = result.adapter.modules["a"]
    assert bool(module.up.isfinite().all()) and bool(module.down.isfinite().all())
    assert drift(module.up) < 1e-5 and drift(module.down.mT) < 1e-5
    (told,) = result.metrics()["modules"]
    for key in ("objective", "gradient_norm", "orthonormality"):
        assert told[key] is not None and math.isfinite(told[key]), key
    assert told["orthonormality"] < 1e-5
    assert told["converged"] == (told["gradient_norm"] <= 1e-5)


@pytest.mark.parametrize("case", CASES)
def test_rank_max_is_the_sum_also_there(case: str) -> None:
    """On each side, directions of the factors below SPAN_TOLERANCE count as rounding."""
    found = lorafold.merge(CASES[case], weights=[1, 1], rank="max", dtype="float32").adapter
    modules = [adapter.modules["a"] for adapter in CASES[case]]
    total = sum(oracles.update(module) for module in modules)
    size = max(abs(own.scale) * float(own.up.double().norm() * own.down.double().norm()) for own in modules)
    assert float((oracles.update(found.modules["a"]) - total).norm()) <= 2 * SPAN_TOLERANCE * size


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("solver", ["alternating", "riemannian_adam", "trust_region"])
def test_a_solver_that_is_stopped_early_says_so(objective: str, solver: str) -> None:
    """A certificate that cannot fail certifies nothing."""
    limits = {
        "alternating": {"max_sweeps": 1},
        "riemannian_adam": {"start": "closed_form", "max_steps": 1},
        "trust_region": {"max_steps": 0},
    }
    adapters = [random_adapter("kohya", {"a": (M, N), "b": (N, M)}, 6, seed=seed) for seed in (1, 2, 3)]
    given = {"rank": 3, "objective": objective}
    stopped = lorafold.merge(adapters, solver={"name": solver, **limits[solver]}, **given).metrics()
    assert stopped["summary"]["converged"] == 0
    assert all(entry["gradient_norm"] > 1e-5 and not entry["converged"] for entry in stopped["modules"])
    done = lorafold.merge(adapters, **given).metrics()
    assert done["summary"]["converged"] == 2
    assert done["summary"]["objective"] < stopped["summary"]["objective"]


@pytest.mark.parametrize("form", ["kohya", "peft", "diffusers", "comfyui"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("power", [-30, -8, 0, 8, 12, 30])
def test_no_infinite_number_reaches_a_file(tmp_path: Path, form: str, dtype: str, power: int) -> None:
    """It is a file of finite numbers, or no file."""
    name = {"diffusers": "unet.a", "comfyui": "diffusion_model.a"}.get(form, "a")
    adapters = [random_adapter(form, {name: (20, 10)}, 3, seed=seed, scale=10.0**power) for seed in (1, 2)]
    target = tmp_path / ("m" if form == "peft" else "m.safetensors")
    merged = lorafold.merge(adapters, rank=3, dtype=dtype).adapter
    try:
        lorafold.save(merged, target)
    except LorafoldError as error:
        assert "NaN or Inf" in str(error) and power > 8 and not list(tmp_path.iterdir())
        return
    (module,) = lorafold.load(target).modules.values()
    assert bool(module.up.isfinite().all()) and bool(module.down.isfinite().all()) and math.isfinite(module.scale)


@pytest.mark.slow
def test_a_thousand_modules() -> None:
    shapes = {f"m{i}": (6 + i % 5, 5 + i % 7) for i in range(1000)}
    adapters = [random_adapter("kohya", shapes, 2, seed=seed) for seed in (1, 2)]
    result = lorafold.merge(adapters, rank=2, solver="alternating")
    assert len(result.adapter.modules) == 1000 and result.metrics()["summary"]["converged"] > 990
