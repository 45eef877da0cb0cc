"""save, then load: every factor keeps its bits, every Delta W, name and further tensor survives."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lorafold.adapters import Adapter, Module, load, save
from tests.adapters.samples import normal, update

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
TARGET = {"kohya": "a.safetensors", "peft": "a"}


@st.composite
def modules(draw: st.DrawFn, form: str, dtype: torch.dtype, name: str) -> Module:
    kind = draw(st.sampled_from(["linear", "conv"] + ["embedding"] * (form == "peft")))
    kernel = draw(st.sampled_from([(1, 1), (3, 3), (3,), (1, 2, 2)])) if kind == "conv" else ()
    m, n, r = (draw(st.integers(1, 5)) for _ in range(3))
    # alpha of a file is float32 at most, so only such a scale can come back exactly
    scale = draw(st.floats(-4, 4, width=32)) / r
    up, down = normal(m, r, dtype=dtype), normal(r, n * math.prod(kernel), dtype=dtype, seed=7)
    return Module(name, up, down, scale, kernel, kind=kind)


@st.composite
def adapters(draw: st.DrawFn, form: str) -> Adapter:
    dtype = draw(st.sampled_from(DTYPES))
    names = draw(
        st.lists(st.sampled_from(["b", "b.fc", "fc", "a+b.(c)", "lora_unet_x_1", "0.k"]), min_size=1, unique=True)
    )
    return Adapter(form, {name: draw(modules(form, dtype, name)) for name in names}, metadata={"who": "é\n\x01"})


def check_same(before: Adapter, after: Adapter) -> None:
    assert sorted(after.modules) == sorted(before.modules)
    for name, module in before.modules.items():
        again = after.modules[name]
        assert (again.kernel, again.kind, again.name) == (module.kernel, module.kind, name)
        assert torch.equal(again.up, module.up) and again.up.dtype == module.up.dtype
        assert torch.equal(again.down, module.down) and again.down.dtype == module.down.dtype
        torch.testing.assert_close(update(again), update(module), rtol=1e-14, atol=0)


@pytest.mark.parametrize("form", ["kohya", "peft"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_update_and_name_survives(form: str, data: st.DataObject) -> None:
    before = data.draw(adapters(form))
    with tempfile.TemporaryDirectory() as folder:
        path = save(before, Path(folder) / TARGET[form])
        after = load(path)
        assert after.format == form and after.path == path
        assert after.metadata["who"] == "é\n\x01"
        check_same(before, after)
        check_same(before, load(save(after, path)))  # the second time over itself


def test_a_peft_bias_survives_and_modules_without_one_get_zeros(tmp_path: Path) -> None:
    up, down, bias = normal(4, 2), normal(2, 3), normal(4)
    pair = {"a": Module("a", up, down, 0.5, bias=bias), "b": Module("b", up, down, 0.5)}
    after = load(save(Adapter("peft", pair), tmp_path / "out"))
    assert after.config["lora_bias"] is True and after.metadata == {"format": "pt"}
    assert torch.equal(after.modules["a"].bias, bias)
    assert torch.equal(after.modules["b"].bias, torch.zeros(4))


def test_additive_and_absolute_tensors_survive(tmp_path: Path) -> None:
    module = {"a": Module("a", normal(4, 2), normal(2, 3), 1.0)}
    deltas = {"a.diff_b": normal(4), "n.w_norm": normal(3, dtype=torch.bfloat16)}
    again = load(save(Adapter("kohya", module, deltas=deltas), tmp_path / "a.safetensors"))
    assert again.deltas.keys() == deltas.keys() and all(torch.equal(again.deltas[key], deltas[key]) for key in deltas)

    extras = {"base_model.model.head.weight": normal(2, 2), "base_model.model.norm.num_batches": torch.tensor(3)}
    again = load(save(Adapter("peft", module, extras=extras), tmp_path / "a"))
    assert again.extras.keys() == extras.keys() and all(torch.equal(again.extras[key], extras[key]) for key in extras)


@pytest.mark.parametrize(
    "dtype", [torch.uint64, torch.uint16, torch.int8, torch.bool, torch.complex64, torch.float8_e4m3fn], ids=str
)
def test_absolute_tensors_are_carried_in_any_dtype(tmp_path: Path, dtype: torch.dtype) -> None:
    key, value = "base_model.model.h.w", torch.tensor([[0.0, 1.0], [1.0, 1.0]]).to(dtype)
    adapter = Adapter("peft", {"a": Module("a", normal(4, 2), normal(2, 3), 1.0)}, extras={key: value})
    again = load(save(adapter, tmp_path / "a")).extras[key]
    assert again.dtype == dtype and torch.equal(again.view(torch.uint8), value.view(torch.uint8))


def test_the_shipped_demo_pair_comes_back_byte_for_byte(tmp_path: Path) -> None:
    for name in ("dmovie", "dnoun"):
        source = Path(__file__).parents[2] / "lorafold" / "demo" / name
        written = save(load(source), tmp_path / name)
        assert (written / "adapter_model.safetensors").read_bytes() == (
            source / "adapter_model.safetensors"
        ).read_bytes()
        assert load(written).config == load(source).config
