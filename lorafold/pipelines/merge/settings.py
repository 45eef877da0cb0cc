"""What a merge can be told: the one place where its top-level defaults live.

Free of torch and of Hydra. The command uses `MergeSettings` as the schema of `conf/merge.yaml`; from Python,
`lorafold.merge(adapters, rank=16, core="mean")` replaces single fields of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypedDict

from lorafold.common.registry import located
from lorafold.common.settings import (
    BASE_HELP,
    COMES_OUT,
    DEVICE_HELP,
    DIFFERENT_BASES_HELP,
    EXCLUDE_HELP,
    GOES_IN,
    INPUT_RANK,
    INPUT_RANK_HELP,
    LAYERS_HELP,
    RUNS,
    documented,
    setting,
)

SUBSPACES = "How the merged subspaces are found"
# What keeps most of each adapter where no weights are given: found on validation data, see docs/quality.md.
CHOSEN: Mapping[str, Any] = {"balance": "saturate", "scale": "retained"}


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

    weights: Any = setting(
        None,
        "one number each: 'weights=[0.7,0.3]'; sum: 1 each; mean: 1/N each; null: that, with the strengths chosen "
        "(balance=saturate scale=retained) unless balance, scale or core is given",
        GOES_IN,
    )
    module_weights: Any = setting(
        None,
        "others for modules with such names, as regular expressions: 'module_weights={up_blocks:\xa0[1,0]}'; a list "
        "in place of a number, '{attn:\xa0[[0,1],[1,0]]}', from the first block of the model to the last",
        GOES_IN,
    )
    block_weights: Any = setting(
        None,
        "factors by block as of LoRA Block Weight, per adapter: 'block_weights=[null,OUTALL]', 12, 17, 20, 26, 57 "
        "or 61 numbers, or {OUT0.:\xa00.5}",
        GOES_IN,
    )
    layers: Any = setting(None, LAYERS_HELP, GOES_IN)
    exclude: Any = setting(None, EXCLUDE_HELP, GOES_IN)
    balance: Any = setting(
        "auto",
        "true: bring all adapters to the same norm first; 0.5: the ratio of two norms to its root; saturate: only "
        "where they change a layer's output by a tenth or more",
        GOES_IN,
    )
    calibration: Any = setting(
        None,
        "what a few unlabelled inputs say of each adapter, the files that `lorafold calibrate` writes, in the order of "
        "adapters; weights then count relative to each other: 'calibration=[a.stats.safetensors,b.stats.safetensors]'",
        GOES_IN,
        files=True,
    )
    ridge: float | None = setting(
        None,
        "of calibration: how much of their mean is added to all inputs; null: 0.01, or 0.1 where adapters share their "
        "initialisation",
        GOES_IN,
    )
    truncate: Any = setting(None, "rank to which each adapter is cut first, or one per adapter; null: none", GOES_IN)
    rank: Any = setting(32, "of the merged adapter; max: enough to lose nothing", COMES_OUT)
    core_rank: Any = setting(
        None, "of the subspaces in which the core rule works, if more than rank; max: all", SUBSPACES
    )
    objective: Any = setting("chordal", "distance to those of the adapters; objective.KEY=...", SUBSPACES)
    subspace_weight: float | None = setting(
        None, "of that distance; 0: plain truncated SVD; null: 1, or 0 with calibration", SUBSPACES
    )
    reconstruction_weight: float = setting(
        1.0, "of the distance to the weighted sum of the updates; 0: the subspaces alone count", SUBSPACES
    )
    manifold: Any = setting("grassmann", "where the subspaces live", SUBSPACES)
    solver: Any = setting(
        "riemannian_adam",
        "how the minimum is found; solver.start=closed_form: by RiemannianAdam alone, without Newton steps",
        SUBSPACES,
    )
    core: Any = setting(
        None,
        "how the updates combine inside the subspaces; left out: their sum, with the strengths chosen (see weights)",
        SUBSPACES,
    )
    scale: Any = setting(
        "auto",
        "strength of the merged adapter: a number, or how to choose one from the adapters alone: each, max_norm, "
        "mean_norm, presence, retained, target, or svc, which has one for each singular direction",
        COMES_OUT,
    )
    residual: bool = setting(
        False,
        "true: what the merge lost beside it, as a second adapter: the weighted sum at the strength of the merge, less "
        "the merged adapter; both together are that sum",
        COMES_OUT,
    )
    base: str | None = setting(None, BASE_HELP, GOES_IN, files=True)
    input_rank: int = setting(INPUT_RANK, INPUT_RANK_HELP, GOES_IN)
    allow_different_bases: bool = setting(False, DIFFERENT_BASES_HELP, GOES_IN)
    device: str = setting("auto", DEVICE_HELP, RUNS)
    dtype: str = setting("auto", "float32, float16, bfloat16; auto: of the first input", COMES_OUT)
    seed: int = setting(0, "of random numbers", RUNS)

    def with_strength(self, count: int) -> MergeSettings:
        """The settings with `balance`, `scale`, `core` and the objective as they count for so many adapters."""
        said = any(getattr(self, name) is not None for name in ("weights", "module_weights", "block_weights", "core"))
        said = said or self.calibration is not None
        silent = not said and self.balance == self.scale == "auto" and count > 1
        chosen: Mapping[str, Any] = CHOSEN if silent else {"balance": False, "scale": 1.0}
        given = {name: located(getattr(self, name)) for name in chosen}
        strength = {name: chosen[name] if value == "auto" else value for name, value in given.items()}
        return replace(
            self,
            core="sum" if self.core is None else self.core,
            objective=self._calibrated_objective(),
            subspace_weight=self._subspace_weight(),
            **strength,
        )

    def _subspace_weight(self) -> float:
        """As given; where the norm is that of statistics, the closed form alone."""
        if self.subspace_weight is not None:
            return self.subspace_weight
        return 0.0 if self.calibration is not None and self.reconstruction_weight else 1.0

    def _calibrated_objective(self) -> Any:
        """With the distance in the norm of statistics in place of the ordinary one, where there are statistics."""
        named = {"name": self.objective} if isinstance(self.objective, str) else self.objective
        if self.calibration is None or named.get("reconstruction", "mean") != "mean":
            return self.objective
        return {**named, "reconstruction": "calibrated"}

    def without_calibration(self) -> MergeSettings:
        """As modules are merged that have no statistics."""
        named = {"name": self.objective} if isinstance(self.objective, str) else self.objective
        plain = {**named, "reconstruction": "mean"} if named.get("reconstruction") == "calibrated" else self.objective
        return replace(self, calibration=None, ridge=None, objective=plain)


class MergeOptions(TypedDict, total=False):
    """The fields of `MergeSettings`, as keywords."""

    weights: Any
    module_weights: Any
    block_weights: Any
    layers: Any
    exclude: Any
    balance: Any
    calibration: Any
    ridge: float | None
    truncate: Any
    rank: Any
    core_rank: Any
    objective: Any
    subspace_weight: float | None
    reconstruction_weight: float
    manifold: Any
    solver: Any
    core: Any
    scale: Any
    residual: bool
    base: str | None
    input_rank: int
    allow_different_bases: bool
    device: str
    dtype: str
    seed: int
