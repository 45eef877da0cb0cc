"""Statistics of tiny models against dense float64 moments of what PEFT's own layers read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lorafold
from lorafold.adapters import Adapter, Module
from lorafold.calibration.content_hash import content_hash
from lorafold.calibration.statistics import LayerStatistics, Statistics
from lorafold.common.errors import LorafoldError
from tests.builders import Source
from tests.builders import one_thread as one_thread
from tests.clients.peft_models import base_model, deltas, layers, peft_model, saved
from tests.pipelines.distill.distill_cases import as_pissa

# What PEFT calls in transformers.
pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")

CLOSE = {"rtol": 1e-4, "atol": 1e-6}


def batches(length: int = 7, count: int = 4) -> list[dict[str, Tensor]]:
    """Padded on the right, by different lengths."""
    generator = torch.Generator().manual_seed(5)
    found = []
    for _ in range(count):
        lengths = torch.randint(2, length + 1, (3,), generator=generator)
        mask = (torch.arange(length) < lengths[:, None]).long()
        found.append({"input_ids": torch.randint(0, 11, (3, length), generator=generator), "attention_mask": mask})
    return found


def read_by_peft(model: Any, inputs: list[Any], skip_first: bool) -> dict[str, Tensor]:
    """What counts of the input of every adapted layer of PEFT's own model: vectors, or one-hot tokens.  (t, n)"""
    seen: dict[str, list[Tensor]] = {}
    counted = torch.empty(0)
    handles = []
    for path, layer in layers(model).items():
        if hasattr(layer, "base_layer"):

            def note(_: nn.Module, args: tuple[Any, ...], path: str = path, layer: Any = layer) -> None:
                x, base = args[0], layer.base_layer
                rows = torch.eye(base.num_embeddings)[x] if isinstance(base, nn.Embedding) else x
                rows = rows[counted] if rows.shape[:2] == counted.shape else rows.flatten(0, -2)
                seen.setdefault(path, []).append(rows.detach().double())

            handles.append(layer.register_forward_pre_hook(note))
    with torch.no_grad():
        for batch in inputs:
            counted = batch["attention_mask"].bool()
            if skip_first:
                counted = counted & (torch.arange(counted.shape[1]) > 0)
            model(**batch)
    for handle in handles:
        handle.remove()
    return {path: torch.cat(parts) for path, parts in seen.items()}


def check(found: LayerStatistics, x: Tensor, delta: Tensor) -> None:
    """Against E[x xᵀ] and E‖ΔW x‖², dense."""
    moment = x.mT @ x / len(x)
    held = (found.directions.double() * found.eigenvalues.double()) @ found.directions.double().mT
    torch.testing.assert_close(found.diagonal.double(), moment.diagonal(), **CLOSE)
    if found.directions.shape[1]:
        rounding = 2**-10 * float(moment.abs().max())  # of float16
        torch.testing.assert_close(held, moment, rtol=0, atol=rounding)
    assert found.tokens == len(x)
    assert found.energy == pytest.approx(float((x @ delta.mT).square().sum(1).mean()), rel=1e-4)
    assert found.diagonal.dtype == found.eigenvalues.dtype == torch.float32
    assert found.directions.dtype == torch.float16


@pytest.mark.parametrize(("kind", "which"), [("bert", 0), ("bert", 1), ("llama", 0), ("llama", 1)])
def test_they_are_the_moments_of_what_pefts_layers_read(kind: str, which: int, tmp_path: Path) -> None:
    live = peft_model(kind)
    name = ("first", "second")[which]
    live.set_adapter(name)
    adapter = lorafold.load(saved(live, tmp_path)[which])
    found = lorafold.collect(base_model(kind), adapter, batches(), directions=16)
    expected, updates = read_by_peft(live, batches(), skip_first=kind == "llama"), deltas(live, name)
    assert found.layers.keys() == adapter.modules.keys() & expected.keys()
    for path, statistics in found.layers.items():
        check(statistics, expected[path], updates[path])
    assert found.inputs == 12 and found.adapter_hash == content_hash(adapter)


def test_the_base_makes_plain_lora_of_an_adapter_that_changed_it(tmp_path: Path) -> None:
    path = as_pissa(saved(peft_model("llama"), tmp_path)[0], tmp_path / "adapter")
    model: Any = base_model("llama")
    model.save_pretrained(tmp_path / "BASE")
    found = lorafold.collect(model, path, batches(), base=str(tmp_path / "BASE"))
    assert found.adapter_hash == content_hash(lorafold.load(path, base=tmp_path / "BASE")) and found.base == "BASE"
    with pytest.raises(LorafoldError, match="base=PATH of that model"):
        lorafold.collect(model, path, batches(), base="org/model")


def test_the_head_of_a_language_model_is_not_run_for_nothing(tmp_path: Path) -> None:
    adapter = lorafold.load(saved(peft_model("llama"), tmp_path)[0])
    model: Any = base_model("llama")
    model.lm_head.register_forward_pre_hook(lambda *_: pytest.fail("run"))
    assert len(lorafold.collect(model, adapter, batches()).layers) == len(adapter.modules)


def collected(model: nn.Module, adapter: Adapter, inputs: list[Any], **changes: Any) -> Statistics:
    return lorafold.collect(model, adapter, inputs, directions=16, **changes)


@pytest.fixture
def llama(tmp_path: Path) -> Adapter:
    return lorafold.load(saved(peft_model("llama"), tmp_path)[0])


def test_padding_and_what_it_says_do_not_count(llama: Adapter) -> None:
    """To the left as well, where the first token of each input is not the first of its row."""
    inputs = batches()
    longer = [
        {
            "input_ids": torch.cat([torch.full((3, 4), 9), batch["input_ids"]], 1),
            "attention_mask": torch.cat([torch.zeros(3, 4, dtype=torch.long), batch["attention_mask"]], 1),
        }
        for batch in inputs
    ]
    plain = collected(base_model("llama"), llama, inputs)
    padded = collected(base_model("llama"), llama, longer)
    for name, statistics in plain.layers.items():
        assert padded.layers[name].tokens == statistics.tokens
        torch.testing.assert_close(padded.layers[name].diagonal, statistics.diagonal, rtol=1e-4, atol=1e-6)


def test_the_order_of_batches_does_not_matter(llama: Adapter) -> None:
    one, other = (collected(base_model("llama"), llama, inputs) for inputs in (batches(), batches()[::-1]))
    assert one.corpus_hash == other.corpus_hash
    for name, statistics in one.layers.items():
        torch.testing.assert_close(other.layers[name].diagonal, statistics.diagonal, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(other.layers[name].eigenvalues, statistics.eigenvalues, rtol=1e-4, atol=1e-6)


def test_other_inputs_have_another_hash(llama: Adapter) -> None:
    hashes = {collected(base_model("llama"), llama, batches(count=count)).corpus_hash for count in (1, 2)}
    assert len(hashes) == 2


def test_layers_that_read_one_tensor_share_it_and_it_changes_nothing(tmp_path: Path) -> None:
    """Rank-pattern names: q, v and gate of the first adapter; q and v read one tensor, gate another."""
    adapter = lorafold.load(saved(peft_model("llama"), tmp_path)[0])
    shared = collected(base_model("llama"), adapter, batches())
    alone = collected(base_model("llama"), adapter, batches(), share=False)
    q, v, gate = (f"model.layers.1.{layer}" for layer in ("self_attn.q_proj", "self_attn.v_proj", "mlp.gate_proj"))
    assert shared.layers[q].directions is shared.layers[v].directions
    assert shared.layers[q].directions is not shared.layers[gate].directions
    assert alone.layers[q].directions is not alone.layers[v].directions
    for name in shared.layers:
        assert torch.equal(shared.layers[name].directions, alone.layers[name].directions)
        assert torch.equal(shared.layers[name].diagonal, alone.layers[name].diagonal)
        assert shared.layers[name].energy == pytest.approx(alone.layers[name].energy, rel=1e-6)


class Changing(nn.Module):
    """Two layers that read one tensor in the first pass, and then do not."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return self.first(x) + self.second(x if self.passes == 1 else x + 1)


def two(seed: int = 0) -> Adapter:
    source = Source(seed)
    modules = [Module(name, source.normal(4, 2), source.normal(2, 4), 1.0) for name in ("first", "second")]
    return Adapter("peft", {each.name: each for each in modules})


def test_layers_that_stop_sharing_are_refused_not_mixed_up() -> None:
    inputs = [torch.randn(5, 4, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    with pytest.raises(LorafoldError, match="second: does not read what first reads"):
        collected(Changing(), two(), inputs)
    alone = collected(Changing(), two(), inputs, share=False)
    expected = torch.cat([inputs[0], inputs[1] + 1]).double()
    torch.testing.assert_close(alone.layers["second"].diagonal.double(), expected.square().mean(0), **CLOSE)


class InPlace(nn.Module):
    """The same memory, with other numbers in it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        out = self.first(x)
        return out + self.second(x.add_(1))


def test_a_tensor_that_was_changed_is_another() -> None:
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    found = collected(InPlace(), two(), [(x,)])
    torch.testing.assert_close(found.layers["second"].diagonal, (x + 1).square().mean(0), **CLOSE)


class Images(nn.Module):
    """Convolutions of many kinds, and a linear layer over pixels."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.plain = nn.Conv2d(3, 4, 3, padding=1)
        self.strided = nn.Conv2d(4, 5, (3, 2), stride=(2, 1), dilation=(1, 2), padding=2, padding_mode="circular")
        self.single = nn.Conv2d(5, 6, 1)
        self.grouped = nn.Conv2d(6, 6, 3, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.grouped(self.single(self.strided(self.plain(x))))


SIZES = {"plain": (4, 27), "strided": (5, 24), "single": (6, 5), "grouped": (6, 27)}


def images() -> Adapter:
    source, model = Source(4), Images()
    modules = {}
    for name, (m, n) in SIZES.items():
        kernel = tuple(getattr(model, name).kernel_size)
        modules[name] = Module(name, source.normal(m, 2), 0.1 * source.normal(2, n), 0.5, kernel, kind="conv")
    return Adapter("kohya", modules)


def patches(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """By torch's own unfold."""
    padded = nn.functional.pad(
        x, layer._reversed_padding_repeated_twice, "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    )
    rows = nn.functional.unfold(padded, layer.kernel_size, layer.dilation, 0, layer.stride)
    return rows.mT.reshape(-1, rows.shape[1])


def test_convolutions_read_patches() -> None:
    model, adapter = Images().double(), images()
    inputs = [torch.randn(2, 3, 9, 8, generator=torch.Generator().manual_seed(i)).double() for i in range(3)]
    found = lorafold.collect(model, adapter, inputs, directions=27)
    merged: Any = Images().double()
    for name, module in adapter.modules.items():
        layer = getattr(merged, name)
        layer.weight.data += (module.scale * module.up @ module.down).reshape(layer.weight.shape)
    read: dict[str, list[Tensor]] = {name: [] for name in ("plain", "strided", "single")}
    with torch.no_grad():
        for x in inputs:
            for name, rows in read.items():
                rows.append(patches(getattr(merged, name), x))
                x = getattr(merged, name)(x)
    assert found.layers.keys() == read.keys()  # no ΔW x of one patch where there are groups
    for name, rows in read.items():
        module = adapter.modules[name]
        check(found.layers[name], torch.cat(rows), module.scale * module.up @ module.down)


def test_of_many_patches_some_count_and_always_the_same() -> None:
    model, adapter = nn.Sequential(nn.Conv2d(2, 3, 3)), images()
    module = Module("0", torch.randn(3, 2), torch.randn(2, 18), 1.0, (3, 3), kind="conv")
    adapter = Adapter("kohya", {"0": module})
    x = torch.randn(2, 2, 40, 40, generator=torch.Generator().manual_seed(0))
    one, other = (lorafold.collect(model, adapter, [x]).layers["0"] for _ in range(2))
    assert one.tokens == 1024 < 2 * 38 * 38
    assert torch.equal(one.diagonal, other.diagonal) and torch.equal(one.directions, other.directions)
    torch.testing.assert_close(one.diagonal, torch.ones(18), rtol=0.2, atol=0)


def test_layers_that_do_not_run_have_no_statistics() -> None:
    class Half(Changing):
        def forward(self, x: Tensor) -> Tensor:
            return self.first(x)

    assert collected(Half(), two(), [torch.ones(1, 4)]).layers.keys() == {"first"}


def test_it_leaves_the_model_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)).train()
    model[1].eval()
    adapter = Adapter("peft", {"0": Module("0", torch.ones(4, 1), torch.ones(1, 4), 1.0)})
    collected(model, adapter, [torch.ones(2, 4)])
    assert model.training and model[0].training and not model[1].training
    assert not model[0]._forward_hooks and not model[0]._forward_pre_hooks
    assert torch.is_grad_enabled()


def refused() -> Iterator[Any]:
    one = torch.ones(2, 4)
    yield pytest.param([], {}, "no inputs.*a few dozen", id="no batches")
    yield pytest.param([one], {"directions": -1}, "directions=-1, expected a whole number", id="directions")
    yield pytest.param([one * float("nan")], {}, "what this layer reads is not finite", id="nan")


@pytest.mark.parametrize(("inputs", "changes", "message"), list(refused()))
def test_what_cannot_be_measured_is_refused(inputs: list[Tensor], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(LorafoldError, match=message):
        lorafold.collect(Changing(), two(), inputs, **changes)


def test_an_adapter_of_another_model_is_refused() -> None:
    other = replace(two(), modules={"third": replace(two().modules["first"], name="third")})
    with pytest.raises(LorafoldError, match="third: no layer of the model"):
        lorafold.collect(Changing(), other, [torch.ones(2, 4)])
