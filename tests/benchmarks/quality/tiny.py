"""A bench folder of random adapters of a random BERT, small enough for tests, and its accuracies by other code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import BertConfig, BertModel

VOCABULARY, LONGEST, CLASSES, EXAMPLES = 60, 9, 3, 40
RANKS = {"a": 2, "b": 2, "c": 3, "c2": 4}  # the last two are of one task
TASKS = {"a": "a", "b": "b", "c": "c", "c2": "c"}


def write_tiny(folder: Path) -> Path:
    """The bench folder; the base model is in `base` beside it."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = BertConfig(vocab_size=VOCABULARY, max_position_embeddings=LONGEST, **sizes)
    base = BertModel(config, add_pooling_layer=False)
    for (
        parameter
    ) in base.parameters():  # away from the tiny weights of a fresh model, in which all sequences look alike
        nn.init.normal_(parameter, std=0.4)
    base.save_pretrained(folder / "base")
    bench = folder / "bench"
    for number, (name, rank) in enumerate(RANKS.items()):
        _write_adapter(bench, folder / "base", name, rank)
        _write_examples(bench, name, np.random.default_rng(number))
    (bench / "tasks.json").write_text(json.dumps({name: {"task": task} for name, task in TASKS.items()}))
    for name in RANKS:
        _label(bench, folder / "base", name)
    return bench


def reference(bench: Path, base: Path, adapter: str | None, head: str, split: str) -> Tensor:
    """Predicted classes by transformers and PEFT, padded and masked, in the order of the file.  (e,)"""
    model = BertModel.from_pretrained(base, add_pooling_layer=False).eval()
    if adapter:
        model = PeftModel.from_pretrained(model, bench / "adapters" / adapter).merge_and_unload()
    tensors, file = load_file(bench / "heads" / f"{head}.safetensors"), np.load(bench / "tests" / f"{head}.npz")
    ids, lengths = (torch.from_numpy(file[f"{split}_{part}"].astype(np.int64)) for part in ("ids", "len"))
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    with torch.inference_mode():
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state * mask[..., None]
    return (hidden.sum(1) / lengths[:, None] @ tensors["weight"].mT + tensors["bias"]).argmax(1)


def labels(bench: Path, name: str, split: str) -> Tensor:
    """(e,)"""
    return torch.from_numpy(np.load(bench / "tests" / f"{name}.npz")[f"{split}_y"])


def _write_adapter(bench: Path, base: Path, name: str, rank: int) -> None:
    targets = ["query", "key", "value", "dense"]
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets, init_lora_weights=False)
    get_peft_model(BertModel.from_pretrained(base, add_pooling_layer=False), config).save_pretrained(
        bench / "adapters" / name
    )


def _write_examples(bench: Path, name: str, random: np.random.Generator) -> None:
    for folder in ("heads", "tests"):
        (bench / folder).mkdir(exist_ok=True)
    head = {"weight": torch.randn(CLASSES, 16), "bias": torch.zeros(CLASSES)}
    save_file(head, bench / "heads" / f"{name}.safetensors")
    arrays = {}
    for split in ("val", "test"):
        arrays[f"{split}_ids"] = random.integers(1, VOCABULARY, (EXAMPLES, LONGEST)).astype(np.uint16)
        arrays[f"{split}_len"] = random.integers(2, LONGEST + 1, EXAMPLES)
        arrays[f"{split}_y"] = random.integers(0, CLASSES, EXAMPLES)
    np.savez(bench / "tests" / f"{name}.npz", **arrays)


def _label(bench: Path, base: Path, name: str) -> None:
    """Make the adapter right on most examples: on those whose number is no multiple of four."""
    path = bench / "tests" / f"{name}.npz"
    arrays = dict(np.load(path))
    for split in ("val", "test"):
        own = reference(bench, base, name, name, split).numpy()
        arrays[f"{split}_y"] = np.where(np.arange(EXAMPLES) % 4 > 0, own, arrays[f"{split}_y"])
    np.savez(path, **arrays)
