"""What a calibration has counted, as plain JSON: one shape for tables and scripts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lorafold.adapters import Adapter, Module
from lorafold.calibration.statistics import LayerStatistics, Statistics
from lorafold.common.peak_memory import peak_rss_mb
from lorafold.models.inputs import Corpus
from lorafold.pipelines._metrics import Json, input_entry


def calibrate_metrics(
    adapters: Sequence[Adapter],
    corpora: Sequence[Corpus],
    statistics: Sequence[Statistics],
    runtimes: Sequence[float],
    seconds: Mapping[str, float],
) -> Json:
    """Inputs, summary and one entry per adapter, in the order of the adapters."""
    return {
        "inputs": [input_entry(adapter, math.fsum(map(_energy, adapter.modules.values()))) for adapter in adapters],
        "summary": {
            "layers": sum(len(each.layers) for each in statistics),
            "seconds": dict(seconds),
            "peak_rss_mb": peak_rss_mb(),
        },
        "adapters": [
            _entry(adapter, corpus, found, runtime)
            for adapter, corpus, found, runtime in zip(adapters, corpora, statistics, runtimes, strict=True)
        ],
    }


def _entry(adapter: Adapter, corpus: Corpus, found: Statistics, runtime: float) -> Json:
    """`sources`: how many different inputs the layers have between them; `tokens`: of the layer that read most."""
    layers = list(found.layers.values())
    return {
        "corpus": None if corpus.path is None else str(corpus.path),
        "corpus_sha256": found.corpus_hash,
        "adapter_hash": found.adapter_hash,
        "inputs": found.inputs,
        "modules": len(adapter.modules),
        "layers": len(layers),
        "without": [name for name in adapter.modules if name not in found.layers],
        "sources": len({id(layer.diagonal) for layer in layers}),
        "tokens": max((layer.tokens for layer in layers), default=0),
        "bytes": _bytes(layers),
        "adapter_bytes": sum(_size(module) for module in adapter.modules.values()),
        "seconds": runtime,
    }


def _bytes(layers: Sequence[LayerStatistics]) -> int:
    """Of the tensors, each once."""
    tensors = [tensor for layer in layers for tensor in (layer.diagonal, layer.directions, layer.eigenvalues)]
    return sum(tensor.nbytes for tensor in {id(tensor): tensor for tensor in tensors}.values())


def _size(module: Module) -> int:
    return module.up.nbytes + module.down.nbytes


def _energy(module: Module) -> float:
    """‖ΔW‖², from Gram matrices."""
    up, down = module.up.double(), module.down.double()
    return float(((up.mT @ up) * (down @ down.mT)).sum()) * module.scale**2
