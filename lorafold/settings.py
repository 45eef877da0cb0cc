"""What a merge can be told: the one place where its top-level defaults live.

Free of torch and of Hydra. The command uses `Settings` as the schema of `conf/merge.yaml`; from Python,
`lorafold.merge(adapters, rank=16, core="mean")` replaces single fields of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Settings:
    """The settings of one merge.

    A *choice* is a name (`"chordal"`) or a mapping with a name and options
    (`{"name": "chordal", "reconstruction": "each"}`); options left out come from `conf/<group>/<name>.yaml`.
    """

    weights: Any = None  # one number per adapter; "sum": 1 each; None: 1 / (number of adapters) each, the mean
    module_weights: Any = None  # {regex: weights} for modules in whose name it occurs, the first that does; or None
    block_weights: Any = None  # factors on those: a preset, numbers or {regex: factor}, or one of these per adapter
    balance: Any = False  # bring the adapters' norms together first: part of the way in [0, 1], or True: to one norm
    truncate: Any = None  # rank to which every adapter is cut first, or one per adapter; None: none
    rank: Any = 32  # rank of the merged adapter, or "max": the exact joint rank of each module
    core_rank: Any = None  # of the subspaces in which the core rule works, before the cut to `rank`; None: rank
    objective: Any = "chordal"  # choice: distance, reconstruction, directions
    subspace_weight: float = 1.0  # of the distance term, >= 0
    reconstruction_weight: float = 1.0  # of the reconstruction term, >= 0
    manifold: Any = "grassmann"  # choice: where U and V live
    solver: Any = "riemannian_adam"  # choice
    core: Any = "sum"  # choice: how the r x r coordinates combine
    scale: Any = 1.0  # factor on the merged update, or the name of a way to choose it from the adapters alone
    base: str | None = None  # file or folder: weights that the adapters were trained on; DoRA needs them
    input_rank: int = 128  # to which LoHa, LoKr, DoRA and whole differences are cut when they are read
    device: str = "auto"  # auto | cpu | cuda | cuda:N
    dtype: str = "auto"  # of the saved factors: auto (that of the first adapter) | float32 | float16 | bfloat16
    seed: int = 0
