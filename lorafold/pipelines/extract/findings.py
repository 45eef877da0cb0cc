"""What the layers of two models come to, one by one: factors, whole tensors, or why they are left out."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lorafold.adapters.checkpoints.layout import is_embedding, is_head
from lorafold.common.seeds import generator_of
from lorafold.layers.ranks import energy_ranks
from lorafold.pipelines.extract.layer import Difference, Extracted, Models, factored
from lorafold.pipelines.extract.leading import leading
from lorafold.pipelines.extract.pairs import Pair
from lorafold.pipelines.extract.plan import ExtractPlan
from lorafold.pipelines.extract.settings import ExtractSettings

# Why a layer that changed is not in the adapter: the name of the setting that takes it, or what keeps it out.
EMBEDDINGS, BIASES, UNNAMED, ROUNDING = "embeddings", "biases", "unnamed", "rounding"


@dataclass(frozen=True, eq=False)
class Change:
    """A bias or norm that changed: its difference (m,), and what it has become (m,)."""

    pair: Pair
    delta: Tensor
    value: Tensor


Finding = Extracted | Change | str | None  # the text is a reason


@dataclass(frozen=True)
class Findings:
    """So far.

    Args:
        layers: as factors.
        whole: biases and norms.
        left_out: labels of layers that changed, by reason.
    """

    layers: list[Extracted] = field(default_factory=list)
    whole: list[Change] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def take(self, pair: Pair, finding: Finding) -> None:
        """Sort in what a layer has come to."""
        if isinstance(finding, Extracted):
            self.layers.append(finding)
        elif isinstance(finding, Change):
            self.whole.append(finding)
        elif finding:
            self.left_out[finding].append(pair.label)


def finding_of(pair: Pair, models: Models, plan: ExtractPlan) -> Finding:
    """One layer, read from both models: factors, a whole tensor, why it is left out, or None where nothing changed.

    Raises:
        LorafoldError: NaN or Inf, or another shape.
    """
    if reason := _reason(pair, models, plan.settings):
        return reason if models.changed(pair) else None
    models.check_shapes(pair)
    if difference := models.difference(pair):
        return (_vector if pair.is_vector else _layer)(pair, difference, models, plan) or ROUNDING
    return None


def _reason(pair: Pair, models: Models, settings: ExtractSettings) -> str | None:
    """Why the layer is left out should it have changed."""
    if not settings.embeddings and (is_embedding(pair.own) or is_head(pair.own)):
        return EMBEDDINGS
    if not settings.biases and pair.is_vector:
        return BIASES
    return UNNAMED if pair.name is None or (pair.is_vector and models.has_statistics(pair)) else None


def _vector(pair: Pair, difference: Difference, models: Models, plan: ExtractPlan) -> Change | None:
    dtype = plan.dtype or _dtype(pair, models)
    value = models.tuned.read(pair.tuned).flatten().to(dtype)
    return Change(pair, difference.matrix.flatten().to(dtype).cpu(), value) if difference.stands_out else None


def _layer(pair: Pair, difference: Difference, models: Models, plan: ExtractPlan) -> Extracted | None:
    """As many directions as are asked for and stand out from the rounding of the files."""
    generator = generator_of(plan.settings.seed, pair.own)
    triples = leading(difference.matrix, plan.rank, generator, plan.settings.exact)
    distinct = int((triples.sigma > difference.rounding.edge).sum())
    rank = min(distinct, _wanted(triples.sigma, difference.energy, plan.settings.energy))
    return factored(difference, triples, rank, pair, plan.dtype or _dtype(pair, models)) if rank else None


def _wanted(sigma: Tensor, total: float, share: float | None) -> int:
    """How many of the singular values hold a share of the energy of all."""
    if share is None:
        return len(sigma)
    rest = sigma.new_tensor([max(0.0, total - float(sigma.square().sum())) ** 0.5])
    return min(len(sigma), int(energy_ranks(torch.cat([sigma, rest])[None], share)))


def _dtype(pair: Pair, models: Models) -> torch.dtype:
    """That of the tuned model; float64 is none of adapters."""
    dtype = models.tuned.checkpoint.tensors[pair.tuned.rows[0].tensor].dtype
    return torch.float32 if dtype == torch.float64 else dtype
