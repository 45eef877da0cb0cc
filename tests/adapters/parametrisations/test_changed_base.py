"""PiSSA and OLoRA as plain LoRA: against what PEFT's initialisation leaves of the base, in dense float64."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import lorafold
from lorafold.adapters import load
from lorafold.common.errors import LorafoldError
from tests.adapters.samples import normal, peft_folder, peft_pair, update
from tests.builders import one_thread as one_thread
from tests.oracles import relative

NAME, ALPHA, RANK = "block.q_proj", 3, 2


def base_file(folder: Path, weight: Tensor) -> Path:
    save_file({f"model.{NAME}.weight": weight.contiguous()}, folder / "base.safetensors")
    return folder / "base.safetensors"


def adapter(folder: Path, start: object, m: int, n: int, **config: object) -> Path:
    return peft_folder(folder / "a", peft_pair(NAME, m, n, RANK), init_lora_weights=start, lora_alpha=ALPHA, **config)


def trained(m: int, n: int) -> Tensor:
    """s B A, of that file."""
    down, up = (tensor.double() for tensor in peft_pair(NAME, m, n, RANK).values())
    return ALPHA / RANK * up @ down


def initial(start: str, weight: Tensor) -> Tensor:
    """s B₀ A₀ as PEFT takes it from the weight."""
    if start == "pissa":
        U, S, Vh = torch.linalg.svd(weight.double(), full_matrices=False)
        return (U[:, :RANK] * S[:RANK]) @ Vh[:RANK]
    Q, R = torch.linalg.qr(weight.double())
    return ALPHA / RANK * Q[:, :RANK] @ R[:RANK]


@pytest.mark.parametrize("start", ["pissa", "olora"])
@pytest.mark.parametrize("shape", [(6, 5), (5, 9)], ids=str)
def test_the_update_of_the_model_as_it_was(tmp_path, start, shape):
    weight = normal(*shape, seed=5)
    folder, base = adapter(tmp_path, start, *shape), base_file(tmp_path, weight)
    found = load(folder, base=base)
    expected = trained(*shape) - initial(start, weight)
    assert relative(update(found.modules[NAME]), expected) < 1e-6
    assert found.modules[NAME].rank == 2 * RANK and found.config["init_lora_weights"] is True
    converted = lorafold.convert(folder, format="peft", base=str(base))
    again = load(converted.save(tmp_path / "plain"))
    assert relative(update(again.modules[NAME]), expected) < 1e-6
    lorafold.fuse(base, [folder]).save(tmp_path / "fused.safetensors")
    fused = load_file(tmp_path / "fused.safetensors")[f"model.{NAME}.weight"]
    assert relative(fused, weight.double() + expected) < 1e-6


def test_weights_stored_the_other_way_round(tmp_path):
    weight = normal(6, 5, seed=5)
    folder = adapter(tmp_path, "pissa", 6, 5, fan_in_fan_out=True)
    found = load(folder, base=base_file(tmp_path, weight.mT))
    assert relative(update(found.modules[NAME]), trained(6, 5) - initial("pissa", weight)) < 1e-6


@pytest.mark.parametrize(
    ("start", "config", "message"),
    [
        ("pissa", {}, r"init_lora_weights=pissa: .* base=PATH of that model, .* or the adapter as PEFT converts it"),
        ("olora", {}, "init_lora_weights=olora: .* base=PATH"),
        *((start, {}, "cannot be repeated") for start in ("pissa_niter_16", "corda", "lora_ga", "loftq")),
    ],
)
def test_no_base_or_none_that_helps(tmp_path, start, config, message):
    folder = adapter(tmp_path, start, 6, 5, **config)
    with pytest.raises(LorafoldError, match=message):
        load(folder)
    if "cannot" in message:
        with pytest.raises(LorafoldError, match=message):
            load(folder, base=base_file(tmp_path, normal(6, 5)))


def test_qr_of_transposed_weights_is_refused(tmp_path):
    folder = adapter(tmp_path, "olora", 6, 5, fan_in_fan_out=True)
    with pytest.raises(LorafoldError, match=r"olora.*fan_in_fan_out, which lorafold does not convert"):
        load(folder, base=base_file(tmp_path, normal(5, 6)))


@pytest.mark.parametrize("start", [True, "gaussian", "eva", None])
def test_other_initialisations_leave_the_base_as_it_is(tmp_path, start):
    folder = adapter(tmp_path, start, 6, 5)
    assert torch.equal(update(load(folder).modules[NAME]), trained(6, 5))
