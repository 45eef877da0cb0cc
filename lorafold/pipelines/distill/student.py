"""The merged adapter while it learns: factors of modules of equal shape and rank, batched.

b = modules of a group, m = out, n = in, r = rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Protocol

import torch
from torch import Tensor, nn

from lorafold.adapters import Adapter, Module
from lorafold.geometry.products import product_svd
from lorafold.solvers import MANIFOLDS

PARAMETRISATIONS = (*MANIFOLDS, "euclidean")
Factors = dict[str, tuple[Tensor, Tensor]]


class Group(Protocol):
    """Modules of equal shape and rank."""

    @property
    def names(self) -> Sequence[str]:
        """Of the modules, in the order of the batch."""

    @property
    def parameters(self) -> dict[str, list[nn.Parameter]]:
        """What learns, by the name of its learning rate."""

    @property
    def factors(self) -> tuple[Tensor, Tensor]:
        """up (b, m, r) and down (b, r, n)."""


@dataclass(frozen=True)
class Orthonormal:
    """ΔW = size U S Vᵀ with UᵀU = VᵀV = I. At the start ‖S‖ = 1, so that a step of S is relative to the update."""

    names: Sequence[str]
    left: nn.Parameter  # U (b, m, r)
    core: nn.Parameter  # S (b, r, r)
    right: nn.Parameter  # V (b, n, r)
    size: Tensor  # (b, 1, 1)

    @property
    def parameters(self) -> dict[str, list[nn.Parameter]]:
        return {"subspaces": [self.left, self.right], "cores": [self.core]}

    @property
    def factors(self) -> tuple[Tensor, Tensor]:
        return self.left, (self.size * self.core) @ self.right.mT


@dataclass(frozen=True)
class Plain:
    """ΔW = X Yᵀ."""

    names: Sequence[str]
    left: nn.Parameter  # X (b, m, r)
    right: nn.Parameter  # Y (b, n, r)

    @property
    def parameters(self) -> dict[str, list[nn.Parameter]]:
        return {"factors": [self.left, self.right]}

    @property
    def factors(self) -> tuple[Tensor, Tensor]:
        return self.left, self.right.mT


@dataclass(frozen=True)
class Student:
    """An adapter whose modules learn; biases and other tensors are as at the start."""

    start: Adapter
    groups: tuple[Group, ...]

    def parameters(self) -> dict[str, list[nn.Parameter]]:
        """What learns, by the name of its learning rate."""
        found: dict[str, list[nn.Parameter]] = {}
        for group in self.groups:
            for name, own in group.parameters.items():
                found.setdefault(name, []).extend(own)
        return found

    def factors(self) -> Factors:
        """Of every module, on the way of gradients."""
        return {name: pair for group in self.groups for name, pair in _by_name(group)}

    @torch.no_grad()
    def adapter(self) -> Adapter:
        """As it is now, in the dtype and with the scales of the start; the factors of a module are of equal norm."""
        modules = dict(self.start.modules)
        for group in self.groups:
            ups, downs = balanced(*group.factors)
            for name, up, down in zip(group.names, ups, downs, strict=True):
                modules[name] = _written(modules[name], up, down)
        return replace(self.start, modules=modules)


def student_of(start: Adapter, parametrisation: str, device: torch.device) -> Student:
    """The student that begins as an adapter.

    Args:
        start: with at least one module.
        parametrisation: a name of PARAMETRISATIONS; "euclidean" for plain factors.
        device: where it learns.
    """
    groups = []
    for _, modules in groupby(sorted(start.modules.values(), key=_kind), _kind):
        groups.append(_group(list(modules), parametrisation, device))
    return Student(start, tuple(groups))


def balanced(up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """The same products by the singular value decomposition, which is split evenly."""
    left, sigma, right = product_svd(up, down)
    root = sigma.sqrt()[..., None, :]
    return left * root, (right * root).mT


def _kind(module: Module) -> tuple[int, int, int]:
    return (*module.shape, module.rank)


def _group(modules: Sequence[Module], parametrisation: str, device: torch.device) -> Group:
    names = [module.name for module in modules]
    ups = torch.stack([module.up.double() * module.scale for module in modules]).to(device)
    downs = torch.stack([module.down.double() for module in modules]).to(device)
    left, sigma, right = product_svd(ups, downs)
    if parametrisation == "euclidean":
        root = sigma.sqrt()[:, None]
        return Plain(names, nn.Parameter((left * root).float()), nn.Parameter((right * root).float()))
    from geoopt import ManifoldParameter  # here, for it is slow to import

    from lorafold.pipelines.distill.manifolds import COLUMN_MANIFOLDS

    space = COLUMN_MANIFOLDS[parametrisation]()
    size = sigma.norm(dim=-1).clamp_min(torch.finfo(torch.float32).tiny)[:, None]
    U, V = (ManifoldParameter(frame.float().contiguous(), manifold=space) for frame in (left, right))
    core = nn.Parameter(torch.diag_embed(sigma / size).float())
    return Orthonormal(names, U, core, V, size[..., None].float())


def _by_name(group: Group) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    ups, downs = group.factors
    yield from zip(group.names, zip(ups, downs, strict=True), strict=True)


def _written(module: Module, up: Tensor, down: Tensor) -> Module:
    """With the bias as it counts: it is multiplied by the scale, too."""
    up, down = up.to("cpu", module.up.dtype).contiguous(), down.to("cpu", module.down.dtype).contiguous()
    bias = None if module.bias is None else module.bias * module.scale
    return replace(module, up=up, down=down, scale=1.0, bias=bias)
