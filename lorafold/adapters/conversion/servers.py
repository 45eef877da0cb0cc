"""Adapters for servers, which read less of a PEFT configuration than PEFT does.

vLLM takes one rank, at most its `max_lora_rank`, and one alpha for all modules, and ignores `rank_pattern` and
`alpha_pattern`; it has no place for biases, whole weights and tokens. Source: vLLM 0.11, `lora/peft_helper.py`
(`_validate_features`, `validate_legal`) and `config/lora.py` (`MaxLoRARanks`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lorafold.adapters.adapter import Adapter
from lorafold.adapters.formats.fold_scale import folded, widened
from lorafold.common.errors import LorafoldError

# What they read.
TARGETS = {"vllm": "peft", "mlx": "mlx", "gguf": "gguf"}
_MOST_RANK = 512
# Settings that no server follows.
SETTINGS = ("modules_to_save", "trainable_token_indices", "layer_replication", "target_parameters")


def for_vllm(adapter: Adapter) -> Adapter:
    """A PEFT adapter of one rank, the largest of its modules', and of scale 1; every update stays as it is.

    Raises:
        LorafoldError: something that vLLM has no place for, or a rank above the largest that it takes.
    """
    for key, problem in _obstacles(adapter):
        raise LorafoldError(
            f"{problem}, which vLLM does not load", path=adapter.path, key=key, remedy="Serve it merged into the model."
        )
    rank = max(module.rank for module in adapter.modules.values())
    if rank > _MOST_RANK:
        raise LorafoldError(
            f"rank {rank}, and vLLM takes at most {_MOST_RANK}",
            path=adapter.path,
            remedy=f"Resize it first: lorafold resize rank={_MOST_RANK}.",
        )
    return replace(adapter, modules={name: widened(folded(module), rank) for name, module in adapter.modules.items()})


def uneven(adapter: Adapter) -> bool:
    """Whether ranks or scales differ between the modules of a PEFT adapter, which vLLM would not notice."""
    return adapter.format == "peft" and len({(m.rank, m.scale) for m in adapter.modules.values()}) > 1


def _obstacles(adapter: Adapter) -> Iterator[tuple[str, str]]:
    yield from ((key, f"{adapter.config[key]!r}") for key in SETTINGS if adapter.config.get(key))
    yield from ((key, "a whole weight or bias") for key in adapter.extras)
    for name, module in adapter.modules.items():
        if module.kind != "linear" or module.bias is not None:
            yield name, "a LoRA bias" if module.kind == "linear" else f"a layer of kind {module.kind}"
