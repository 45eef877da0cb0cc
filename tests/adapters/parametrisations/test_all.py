"""LoHa, LoKr, DoRA and whole differences through the commands: the exact sum of their updates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import lorafold
from lorafold.adapters import load
from lorafold.commands.align.config import AlignConfig
from lorafold.commands.align.run import align
from lorafold.commands.compare.config import CompareConfig
from lorafold.commands.compare.run import compare
from lorafold.commands.merge.config import MergeConfig
from lorafold.commands.merge.run import merge
from lorafold.pipelines.merge.settings import MergeSettings
from lorafold.runs.run import Run
from tests.adapters.samples import kohya_file, kohya_pair, normal, update
from tests.builders import one_thread as one_thread

N = "lora_unet_x"
PAIR = kohya_pair(N, 10, 12) | {f"{N}.alpha": torch.tensor(1.0)}
LOHA = {
    f"{N}.hada_{part}": normal(*shape, seed=i)
    for i, (part, shape) in enumerate({"w1_a": (10, 2), "w1_b": (2, 12), "w2_a": (10, 2), "w2_b": (2, 12)}.items())
}
LOKR = {f"{N}.lokr_w1": normal(2, 3), f"{N}.lokr_w2_a": normal(5, 1), f"{N}.lokr_w2_b": normal(1, 4)}
DORA = PAIR | {f"{N}.dora_scale": normal(10, 1, seed=5).abs() + 1}
WHOLE = {f"{N}.diff": normal(10, 12, seed=6)}
BASE = {"x.weight": normal(10, 12, seed=8)}


def dense(kind: str) -> Tensor:
    """ΔW of each, by its formula."""
    loha = {key.removeprefix(f"{N}.hada_"): tensor.double() for key, tensor in LOHA.items()}
    lokr = {key.removeprefix(f"{N}.lokr_"): tensor.double() for key, tensor in LOKR.items()}
    lora = 0.5 * PAIR[f"{N}.lora_up.weight"].double() @ PAIR[f"{N}.lora_down.weight"].double()
    weight = BASE["x.weight"].double()
    changed = weight + lora
    return {
        "lora": lora,
        "loha": (loha["w1_a"] @ loha["w1_b"]) * (loha["w2_a"] @ loha["w2_b"]),
        "lokr": torch.kron(lokr["w1"], lokr["w2_a"] @ lokr["w2_b"]),
        "dora": DORA[f"{N}.dora_scale"].double() * changed / changed.norm(dim=1, keepdim=True) - weight,
        "whole": WHOLE[f"{N}.diff"].double(),
    }[kind]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A file of each kind, and the base model of the DoRA."""
    for name, tensors in (("lora", PAIR), ("loha", LOHA), ("lokr", LOKR), ("dora", DORA), ("whole", WHOLE)):
        kohya_file(tmp_path / f"{name}.safetensors", tensors)
    (tmp_path / "model" / "unet").mkdir(parents=True)
    save_file(BASE, tmp_path / "model" / "unet" / "m.safetensors")
    (tmp_path / "run").mkdir()
    return tmp_path


def run(folder: Path) -> Run:
    return Run(folder / "run", base=folder, alone=False)


@pytest.mark.parametrize("other", ["loha", "lokr", "dora", "whole"])
def test_the_merge_is_the_sum_of_the_updates(folder: Path, other: str) -> None:
    paths = [folder / "lora.safetensors", folder / f"{other}.safetensors"]
    settings = {"weights": [0.7, -1.3], "rank": "max", "subspace_weight": 0.0, "base": str(folder / "model")}
    found = lorafold.merge(paths, **settings).adapter.modules[N]
    expected = 0.7 * dense("lora") - 1.3 * dense(other)
    torch.testing.assert_close(update(found), expected, rtol=0, atol=1e-6 * float(expected.abs().max()))
    assert found.lost == 0.0


def test_the_command_reads_the_base_from_where_the_user_stands(folder: Path) -> None:
    settings = MergeSettings(weights="mean", rank="max", subspace_weight=0.0, base="model", input_rank=64)
    merge(run(folder), MergeConfig(**vars(settings), adapters=["lora.safetensors", "dora.safetensors"], page=False))
    found = load(folder / "run" / "merged.safetensors").modules[N]
    expected = (dense("lora") + dense("dora")) / 2
    torch.testing.assert_close(update(found), expected, rtol=0, atol=1e-6 * float(expected.abs().max()))
    config = json.loads((folder / "run" / "metrics.json").read_text())["config"]
    assert config["base"] == str(folder / "model") and config["input_rank"] == 64


def test_the_base_is_never_overwritten(folder: Path) -> None:
    base = str(kohya_file(folder / "base.safetensors", BASE))
    before = Path(base).read_bytes()
    job = MergeConfig(base=base, adapters=["lora.safetensors", "dora.safetensors"], output=base, page=False)
    with pytest.raises(lorafold.LorafoldError, match="must not be overwritten"):
        merge(run(folder), job)
    assert Path(base).read_bytes() == before


def test_compare_and_align_read_them_too(folder: Path) -> None:
    names = [f"{kind}.safetensors" for kind in ("lora", "loha", "lokr", "dora", "whole")]
    found = compare(run(folder), CompareConfig(base="model", adapters=names, page=False))
    assert [entry["modules"] for entry in found["inputs"]] == [1] * 5
    align(run(folder), AlignConfig(base="model", adapters=names))
    for number, kind in enumerate(("lora", "loha", "lokr", "dora", "whole"), 1):
        written = load(folder / "run" / f"aligned_{number}.safetensors").modules[N]
        size = float(dense(kind).abs().max())
        torch.testing.assert_close(update(written), dense(kind), rtol=0, atol=2e-6 * size)


def test_a_dora_without_its_base_is_refused_by_every_command(folder: Path) -> None:
    for work in (lorafold.merge, lorafold.compare, lorafold.align):
        with pytest.raises(lorafold.LorafoldError, match="base=PATH"):
            work([kohya_file(folder / "b.safetensors", kohya_pair(N, 10, 12)), folder / "dora.safetensors"])
