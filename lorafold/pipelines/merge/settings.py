"""What a merge can be told: the one place where its top-level defaults live.

Free of torch and of Hydra. The command uses `MergeSettings` as the schema of `conf/merge.yaml`; from Python,
`lorafold.merge(adapters, rank=16, core="mean")` replaces single fields of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypedDict

from lorafold.common.defaults import INPUT_RANK
from lorafold.common.registry import located
from lorafold.common.settings import documented

# What keeps most of each adapter where no weights are given: found on validation data, see docs/quality.md.
CHOSEN: Mapping[str, Any] = {"balance": 0.7, "scale": "mean_norm"}


@documented
@dataclass(frozen=True)
class MergeSettings:
    """The settings of one merge.

    A *choice* is a name (`"chordal"`) or a mapping with a name and options
    (`{"name": "chordal", "reconstruction": "each"}`); options left out come from `conf/<group>/<name>.yaml`.

    Where nothing is said about strength, by `weights`, `module_weights`, `block_weights`, `balance`, `scale` or `core`,
    it is chosen from the adapters (see `CHOSEN`). Otherwise "auto" is no balance and a scale of 1: weights count as
    they are given, and a rule is what its paper says, the sum too.
    """

    weights: Any = None  # one number per adapter; "sum": 1 each; "mean" or None: 1 / (number of adapters) each
    module_weights: Any = None  # {regex: weights} for modules in whose name it occurs, the first that does; or None
    block_weights: Any = None  # factors on those: a preset, numbers or {regex: factor}, or one of these per adapter
    balance: Any = "auto"  # bring the adapters' norms together first: part of the way in [0, 1]; True: to one norm
    truncate: Any = None  # rank to which every adapter is cut first, or one per adapter; None: none
    rank: Any = 32  # rank of the merged adapter, or "max": the exact joint rank of each module
    core_rank: Any = None  # of the subspaces in which the core rule works, before the cut to `rank`; None: rank
    objective: Any = "chordal"  # choice: distance, reconstruction, directions
    subspace_weight: float = 1.0  # of the distance term, >= 0
    reconstruction_weight: float = 1.0  # of the reconstruction term, >= 0
    manifold: Any = "grassmann"  # choice: where U and V live
    solver: Any = "riemannian_adam"  # choice
    core: Any = None  # choice: how the r x r coordinates combine; None: their sum
    scale: Any = "auto"  # factor on the merged update, or the name of a way to choose it from the adapters alone
    base: str | None = None  # file or folder: weights that the adapters were trained on; DoRA needs them
    input_rank: int = INPUT_RANK  # to which LoHa, LoKr, DoRA and whole differences are cut when they are read
    allow_different_bases: bool = False  # take adapters for models of different architectures, with a warning
    device: str = "auto"  # auto | cpu | cuda | cuda:N
    dtype: str = "auto"  # of the saved factors: auto (that of the first adapter) | float32 | float16 | bfloat16
    seed: int = 0  # of the core rules that draw at random

    def with_strength(self, count: int) -> MergeSettings:
        """The settings with `balance`, `scale` and `core` as they count for so many adapters."""
        said = (self.weights, self.module_weights, self.block_weights, self.core) != (None, None, None, None)
        silent = not said and self.balance == self.scale == "auto" and count > 1
        chosen: Mapping[str, Any] = CHOSEN if silent else {"balance": False, "scale": 1.0}
        given = {name: located(getattr(self, name)) for name in chosen}
        strength = {name: chosen[name] if value == "auto" else value for name, value in given.items()}
        return replace(self, core="sum" if self.core is None else self.core, **strength)


class MergeOptions(TypedDict, total=False):
    """The fields of `MergeSettings`, as keywords."""

    weights: Any
    module_weights: Any
    block_weights: Any
    balance: Any
    truncate: Any
    rank: Any
    core_rank: Any
    objective: Any
    subspace_weight: float
    reconstruction_weight: float
    manifold: Any
    solver: Any
    core: Any
    scale: Any
    base: str | None
    input_rank: int
    allow_different_bases: bool
    device: str
    dtype: str
    seed: int
