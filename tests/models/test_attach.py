"""A model with an adapter attached computes what PEFT computes, and what W + ΔW gives; afterwards it is as before."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lorafold
from lorafold.adapters import Adapter, Module
from lorafold.common.errors import LorafoldError
from lorafold.models.attach import attached, attached_factors
from lorafold.models.layers import layers_of
from tests.adapters.conversions import canonical
from tests.builders import Source
from tests.builders import one_thread as one_thread
from tests.clients.checking import changed, input_for
from tests.clients.peft_models import base_model, outputs, peft_model, saved
from tests.clients.pipelines import pipeline
from tests.clients.trained import layers, trained

# What PEFT calls in transformers.
pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")

SOURCE = Source(3)
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def fingerprint(model: nn.Module) -> dict[str, str]:
    """Every bit of the state, and where it lies."""
    state = model.state_dict(keep_vars=True)
    return {
        name: f"{hashlib.sha256(value.detach().numpy().tobytes()).hexdigest()} {value.data_ptr()}"
        for name, value in state.items()
    }


def hooks(model: nn.Module) -> int:
    return sum(len(layer._forward_hooks) + len(layer._forward_pre_hooks) for layer in model.modules())


@pytest.mark.parametrize("kind", ["bert", "llama", "conv"])
@pytest.mark.parametrize("which", [0, 1])
def test_it_is_pefts_own_forward(kind: str, which: int, tmp_path: Path) -> None:
    live, base = peft_model(kind), base_model(kind)
    live.set_adapter(("first", "second")[which])
    adapter = lorafold.load(saved(live, tmp_path)[which])
    before, alone = fingerprint(base), outputs(base, kind)
    with attached(base, adapter):
        inside = outputs(base, kind)
    torch.testing.assert_close(inside, outputs(live, kind), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(inside, alone, rtol=1e-2)
    assert torch.equal(outputs(base, kind), alone)
    assert fingerprint(base) == before and hooks(base) == 0


def test_lora_biases_and_whole_weights_are_on_too(tmp_path: Path) -> None:
    lora = {"target_modules": ["query", "dense"], "r": 2, "lora_bias": True, "modules_to_save": ["classifier"]}
    live = peft_model("bert", ({**lora, "lora_alpha": 6}, {**lora, "lora_alpha": 3}))
    live.set_adapter("first")
    for name, parameter in live.named_parameters():
        if ".lora_B.first.bias" in name or "modules_to_save.first" in name:
            parameter.data = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name)))
    base = base_model("bert")
    before = fingerprint(base)
    with attached(base, lorafold.load(saved(live, tmp_path)[0])):
        torch.testing.assert_close(outputs(base, "bert"), outputs(live, "bert"), rtol=1e-5, atol=1e-6)
    assert fingerprint(base) == before


def test_a_model_with_a_head_and_one_without_take_each_others_adapters(tmp_path: Path) -> None:
    """The base of one is `bert.` in the other."""
    live = peft_model("bert")
    adapter = lorafold.load(saved(live, tmp_path)[0])
    headless = base_model("bert").bert
    live.set_adapter("first")
    ids = torch.arange(6)[None]
    with attached(headless, adapter), torch.no_grad():
        hidden = headless(input_ids=ids).last_hidden_state
    expected = live.base_model.model.bert(input_ids=ids).last_hidden_state
    torch.testing.assert_close(hidden, expected, rtol=1e-5, atol=1e-6)
    bare = replace(adapter, modules={name.removeprefix("bert."): each for name, each in adapter.modules.items()})
    assert [part.layer for parts in layers_of(base_model("bert"), bare).values() for part in parts]


@pytest.mark.parametrize("architecture", ["sd", "sdxl", "flux", "sd3", "wan"])
@pytest.mark.parametrize("form", ["kohya", "diffusers", "comfyui"])
def test_every_layer_of_a_pipeline_computes_with_the_whole_update(architecture: str, form: str) -> None:
    """Fused layers divided, halves of rows exchanged, under the names of every tool."""
    pipe = pipeline(architecture)
    adapter = trained(pipe, architecture, form, seed=1, scale=0.5)
    deltas, found = canonical(adapter, architecture), layers(pipe)
    expected = {name: changed(found[name], delta) for name, delta in deltas.items()}
    with attached(pipe, adapter), torch.no_grad():
        for name, layer in found.items():
            x = input_for(layer)
            wanted = expected.get(name, layer)(x)
            torch.testing.assert_close(layer(x), wanted, rtol=1e-4, atol=1e-4, msg=name)
    assert expected.keys() < found.keys()


class Everything(nn.Module):
    """A layer of each kind, in float64."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(7, 6)
        self.conv = nn.Conv1d(6, 8, 3, padding=1, padding_mode="circular")
        self.strided = nn.Conv1d(8, 8, 2, stride=2, groups=2)
        self.norm = nn.LayerNorm(8)
        self.linear = nn.Linear(8, 5, bias=False)
        self.double()

    def forward(self, ids: Tensor) -> Tensor:
        x = self.strided(self.conv(self.embed(ids).mT))
        return self.linear(input=self.norm(x.mT))  # by keyword


def module(name: str, m: int, n: int, **parts: Any) -> Module:
    return Module(name, SOURCE.normal(m, 2), SOURCE.normal(2, n), 0.7, **parts)


def everything() -> Adapter:
    modules = (
        module("embed", 6, 7, kind="embedding"),
        module("conv", 8, 18, kernel=(3,), kind="conv", bias=SOURCE.normal(8)),
        module("strided", 8, 8, kernel=(2,), kind="conv"),
        module("linear", 5, 8, bias=SOURCE.normal(5)),
    )
    deltas = {
        "norm.w_norm": SOURCE.normal(8),
        "norm.b_norm": SOURCE.normal(8),
        "conv.diff_b": SOURCE.normal(8),
        "linear.diff_b": SOURCE.normal(5),
    }
    return Adapter("peft", {each.name: each for each in modules}, deltas=deltas)


def merged(adapter: Adapter) -> nn.Module:
    """The same by dense weights."""
    model: Any = Everything()
    with torch.no_grad():
        for name, each in adapter.modules.items():
            layer, delta = getattr(model, name), each.scale * each.up @ each.down
            layer.weight += (delta.T if name == "embed" else delta).reshape(layer.weight.shape)
        model.conv.bias += adapter.modules["conv"].bias * 0.7 + adapter.deltas["conv.diff_b"]
        model.norm.weight += adapter.deltas["norm.w_norm"]
        model.norm.bias += adapter.deltas["norm.b_norm"]
        model.linear.bias = nn.Parameter(adapter.modules["linear"].bias * 0.7 + adapter.deltas["linear.diff_b"])
    return model


def test_it_is_the_model_with_the_updates_merged_into_its_weights() -> None:
    model, adapter, ids = Everything(), everything(), torch.tensor([[1, 0, 6, 3], [2, 2, 5, 4]])
    before = fingerprint(model)
    with attached(model, adapter):
        torch.testing.assert_close(model(ids), merged(adapter)(ids), **EXACT)
    assert fingerprint(model) == before and hooks(model) == 0


def test_the_model_is_as_before_after_an_error_inside() -> None:
    model = Everything()
    before = fingerprint(model)
    with pytest.raises(ZeroDivisionError), attached(model, everything()):
        raise ZeroDivisionError
    assert fingerprint(model) == before and hooks(model) == 0


def test_two_adapters_add_up() -> None:
    model, first, second, ids = Everything(), everything(), everything(), torch.tensor([[1, 0, 6, 3]])
    plain = [replace(each, deltas={}) for each in (first, second)]
    both = {
        name: replace(
            one,
            up=torch.cat([one.up, other.up], 1),
            down=torch.cat([one.down, other.down]),
            bias=None if one.bias is None else one.bias + other.bias,
        )
        for (name, one), other in zip(first.modules.items(), second.modules.values(), strict=True)
    }
    with attached(model, plain[0]), attached(model, plain[1]):
        nested = model(ids)
    with attached(model, replace(first, modules=both, deltas={})):
        torch.testing.assert_close(nested, model(ids), **EXACT)


def test_gradients_reach_factors_that_are_asked_for_at_each_pass() -> None:
    model, adapter, ids = Everything(), everything(), torch.tensor([[1, 0, 6, 3]])
    parts = layers_of(model, adapter)
    factors = {name: (each.up.clone().requires_grad_(), each.down) for name, each in adapter.modules.items()}
    with attached_factors(parts, factors.__getitem__):
        first = model(ids)
        first.square().sum().backward()
        with torch.no_grad():
            for up, _ in factors.values():
                up.mul_(0)
        assert torch.equal(model(ids), Everything()(ids))
    for name, (up, _) in factors.items():
        assert up.grad is not None and float(up.grad.norm()) > 0, name


def test_halves_are_computed_in_float32() -> None:
    """As PEFT does: the output alone is rounded."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(64, 64).half()), torch.randn(9, 64).half()
    update = Module("0", torch.randn(64, 4).half(), torch.randn(4, 64).half(), 0.3)
    expected = model(x).double() + x.double() @ (0.3 * update.up.double() @ update.down.double()).T
    with attached(model, Adapter("peft", {"0": update})):
        out = model(x)
    assert out.dtype == torch.float16
    assert torch.equal(out, expected.half()) or float((out - expected).abs().max() / expected.abs().max()) < 2**-11


def unplaced() -> Iterator[tuple[Adapter, str]]:
    adapter = everything()
    modules = dict(adapter.modules)
    yield replace(adapter, modules={**modules, "ghost": module("ghost", 3, 4)}), "ghost: no layer of the model .1 of"
    yield replace(adapter, modules={**modules, "linear": module("linear", 5, 9)}), "linear: ΔW is 5 x 9, but .*5 x 8"
    yield replace(adapter, modules={"norm": module("norm", 8, 8)}), "norm: an update of a LayerNorm"
    swapped = module("conv", 8, 18, kernel=(1,), kind="conv")
    yield replace(adapter, modules={"conv": swapped}), "kernel of 1, but the model's layer is 8 x 18 with a kernel of 3"
    yield replace(adapter, deltas={"ghost.diff_b": torch.zeros(3)}), "ghost.diff_b: an additive tensor without"
    yield replace(adapter, deltas={"norm.w_norm": torch.zeros(3)}), "norm.w_norm: an additive tensor without"


@pytest.mark.parametrize(("adapter", "message"), list(unplaced()))
def test_the_wrong_model_is_refused_and_left_alone(adapter: Adapter, message: str) -> None:
    model = Everything()
    before = fingerprint(model)
    with pytest.raises(LorafoldError, match=message), attached(model, adapter):
        pytest.fail("attached")
    assert fingerprint(model) == before and hooks(model) == 0


def test_a_projection_that_is_never_called_is_refused() -> None:
    """MultiheadAttention reads the weight of its out_proj past any hook."""
    model = nn.MultiheadAttention(4, 2)
    with pytest.raises(LorafoldError, match="no layer that lorafold can adapt"):
        layers_of(model, Adapter("peft", {"out_proj": module("out_proj", 4, 4)}))


def test_one_encoder_cannot_stand_for_two() -> None:
    pipe = pipeline("sdxl")
    names = [f"lora_te{i}_text_model_encoder_layers_0_self_attn_q_proj" for i in (1, 2)]
    adapter = Adapter("kohya", {name: module(name, 8, 8) for name in names})
    assert len(layers_of(pipe, adapter)) == 2
    with pytest.raises(LorafoldError, match=r"the same layer of the model as lora_te1.*Give the whole pipeline"):
        layers_of(pipe.text_encoder_2, adapter)


def test_a_head_that_the_model_lacks_is_left_out_with_a_warning(caplog) -> None:
    extras = {"base_model.model.score.weight": torch.ones(2, 5)}
    with attached(Everything(), replace(everything(), extras=extras)):
        pass
    assert "score.weight: the model has no place" in caplog.text


def test_peft_models_lose_nothing(tmp_path: Path) -> None:
    """A second adapter beside a live one of PEFT."""
    live = peft_model("bert")
    live.set_adapter("first")
    adapter = lorafold.load(saved(live, tmp_path)[1])
    ids = torch.arange(6)[None]
    with attached(live, adapter), torch.no_grad():
        both = live(input_ids=ids).logits
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        live.base_model.set_adapter(["first", "second"])
    torch.testing.assert_close(both, live(input_ids=ids).logits, rtol=1e-5, atol=1e-6)
