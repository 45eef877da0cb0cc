"""LoHa, LoKr and parts in kohya files: against dense float64 formulas, and against LyCORIS' own modules."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lorafold.adapters import Adapter, Module, load, save
from lorafold.common.errors import LorafoldError
from tests.adapters.samples import kohya_file, kohya_pair, normal, update

N = "lora_unet_x"
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
HUGE = 40_000


def named(parts: dict[str, Tensor], alpha: float | None = None) -> dict[str, Tensor]:
    """The tensors of one layer."""
    found = {f"{N}.{part}": tensor for part, tensor in parts.items()}
    return found if alpha is None else found | {f"{N}.alpha": torch.tensor(alpha)}


def numbers(dtype: torch.dtype, **shapes: tuple[int, ...]) -> dict[str, Tensor]:
    return {part: normal(*shape, dtype=dtype, seed=i) for i, (part, shape) in enumerate(shapes.items())}


def read(path: Path, tensors: dict[str, Tensor], **options) -> Module:
    adapter = load(kohya_file(path / "a.safetensors", tensors), **options)
    assert list(adapter.modules) == [N] and not adapter.pending
    return adapter.modules[N]


def loha(parts: dict[str, Tensor]) -> Tensor:
    """(m, in, *kernel), without alpha / r."""
    wide = {part: tensor.double() for part, tensor in parts.items()}

    def one(i: int) -> Tensor:
        a, b = wide[f"hada_w{i}_a"], wide[f"hada_w{i}_b"]
        if f"hada_t{i}" in wide:
            return torch.einsum("pq...,po,qi->oi...", wide[f"hada_t{i}"], a, b)
        return torch.einsum("or,ri...->oi...", a, b)

    return one(1) * one(2)


def lokr(parts: dict[str, Tensor]) -> Tensor:
    """(m, in, *kernel), without alpha / r: entry (a b, c d) is w1[a, c] w2[b, d]."""
    wide = {part: tensor.double() for part, tensor in parts.items()}
    w1 = wide["lokr_w1"] if "lokr_w1" in wide else wide["lokr_w1_a"] @ wide["lokr_w1_b"]
    if "lokr_t2" in wide:
        w2 = torch.einsum("pq...,po,qi->oi...", wide["lokr_t2"], wide["lokr_w2_a"], wide["lokr_w2_b"])
    elif "lokr_w2" in wide:
        w2 = wide["lokr_w2"]
    else:
        w2 = torch.einsum("or,ri...->oi...", wide["lokr_w2_a"], wide["lokr_w2_b"])
    product = torch.einsum("ac,bd...->abcd...", w1, w2)
    return product.flatten(0, 1).flatten(1, 2)


def close(found: Module, expected: Tensor, dtype: torch.dtype) -> None:
    flat = expected.flatten(1)
    assert found.shape == flat.shape and found.lost < 1e-9
    assert found.kernel == tuple(expected.shape[2:]) and found.kind == ("conv" if found.kernel else "linear")
    accuracy = 1e-12 if dtype is torch.float64 else 1e-6
    torch.testing.assert_close(update(found), flat, rtol=0, atol=accuracy * float(flat.abs().max()))


LOHA = {
    "linear": {"w1_a": (9, 2), "w1_b": (2, 7), "w2_a": (9, 2), "w2_b": (2, 7)},
    "wider than the layer": {"w1_a": (9, 4), "w1_b": (4, 7), "w2_a": (9, 4), "w2_b": (4, 7)},
    "kernel in the file": {"w1_a": (9, 2), "w1_b": (2, 5, 3, 3), "w2_a": (9, 2), "w2_b": (2, 5, 3, 3)},
    "Tucker": {"w1_a": (2, 9), "w1_b": (2, 5), "w2_a": (2, 9), "w2_b": (2, 5), "t1": (2, 2, 3, 2), "t2": (2, 2, 3, 2)},
    "Tucker 1-D": {"w1_a": (2, 9), "w1_b": (2, 5), "w2_a": (2, 9), "w2_b": (2, 5), "t1": (2, 2, 3), "t2": (2, 2, 3)},
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("alpha", [None, 1.0, 3.0])
@pytest.mark.parametrize("shapes", LOHA.values(), ids=LOHA)
def test_loha(tmp_path: Path, shapes: dict, alpha: float | None, dtype: torch.dtype) -> None:
    parts = numbers(dtype, **{f"hada_{part}": shape for part, shape in shapes.items()})
    rank = shapes["w1_b"][0]
    expected = loha(parts) * (1.0 if alpha is None else alpha / rank)
    close(read(tmp_path, named(parts, alpha)), expected, dtype)


LOKR = {  # what, shapes, rank that alpha refers to (None: it does not count)
    "whole w1": ({"w1": (2, 3), "w2_a": (5, 2), "w2_b": (2, 4)}, 2),
    "whole w2": ({"w1_a": (4, 3), "w1_b": (3, 5), "w2": (6, 4)}, 3),
    "both whole": ({"w1": (2, 3), "w2": (5, 4)}, None),
    "neither": ({"w1_a": (4, 2), "w1_b": (2, 5), "w2_a": (6, 2), "w2_b": (2, 4)}, 2),
    "kernel": ({"w1": (2, 3), "w2": (5, 4, 3, 2)}, None),
    "kernel in a factor": ({"w1": (2, 3), "w2_a": (5, 2), "w2_b": (2, 4, 3, 2)}, 2),
    "Tucker": ({"w1": (2, 3), "w2_a": (2, 5), "w2_b": (2, 4), "t2": (2, 2, 3, 2)}, 2),
    "one number": ({"w1": (1, 1), "w2_a": (5, 2), "w2_b": (2, 4)}, 2),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("alpha", [None, 1.0, 5.0])
@pytest.mark.parametrize(("shapes", "rank"), LOKR.values(), ids=LOKR)
def test_lokr(tmp_path: Path, shapes: dict, rank: int | None, alpha: float | None, dtype: torch.dtype) -> None:
    parts = numbers(dtype, **{f"lokr_{part}": shape for part, shape in shapes.items()})
    expected = lokr(parts) * (1.0 if alpha is None or rank is None else alpha / rank)
    close(read(tmp_path, named(parts, alpha)), expected, dtype)


@pytest.mark.parametrize("name", ["lora_unet_down_blocks_0_resnets_1_conv2", "lora_unet_input_blocks_3_0_op"])
def test_a_flattened_kernel_is_known_by_the_name_of_the_layer(tmp_path: Path, name: str) -> None:
    """LyCORIS stores it so, and only the model says that it is one."""
    parts = numbers(torch.float32, hada_w1_a=(4, 1), hada_w1_b=(1, 18), hada_w2_a=(4, 1), hada_w2_b=(1, 18))
    tensors = {f"{name}.{part}": tensor for part, tensor in parts.items()}
    adapter = load(kohya_file(tmp_path / "a.safetensors", tensors))
    assert (adapter.modules[name].kernel, adapter.modules[name].kind) == ((3, 3), "conv")
    assert load(save(adapter, tmp_path / "b.safetensors")).modules[name].kernel == (3, 3)


@pytest.mark.parametrize(
    ("name", "n"),
    [
        ("lora_unet_down_blocks_0_resnets_1_conv2", 17),
        ("lora_unet_down_blocks_0_resnets_1_conv2_proj", 18),
        ("lora_unet_down_blocks_0_attentions_1_proj_in", 18),
    ],
)
def test_other_layers_are_linear(tmp_path: Path, name: str, n: int) -> None:
    """Nine times as many columns do not make a kernel, nor does a name that only begins like that of one."""
    parts = numbers(torch.float32, hada_w1_a=(4, 1), hada_w1_b=(1, n), hada_w2_a=(4, 1), hada_w2_b=(1, n))
    tensors = {f"{name}.{part}": tensor for part, tensor in parts.items()}
    module = load(kohya_file(tmp_path / "a.safetensors", tensors)).modules[name]
    assert (module.kernel, module.kind, module.shape) == ((), "linear", (4, n))


def test_what_is_read_is_written_as_lora(tmp_path: Path) -> None:
    parts = numbers(torch.float32, **{f"lokr_{part}": shape for part, shape in LOKR["kernel"][0].items()})
    adapter = load(kohya_file(tmp_path / "a.safetensors", named(parts)))
    again = load(save(adapter, tmp_path / "b.safetensors"))
    assert torch.equal(update(again.modules[N]), update(adapter.modules[N]))


def test_too_high_a_rank_is_cut_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts = numbers(torch.float32, lokr_w1=(4, 4), lokr_w2=(8, 8))
    with caplog.at_level(logging.WARNING):
        module = read(tmp_path, named(parts), rank=10)
    energies = torch.linalg.svdvals(lokr(parts)).square()
    lost = float(energies[10:].sum() / energies.sum())
    assert module.rank == 10 and module.lost == pytest.approx(lost, rel=1e-5)
    (message,) = caplog.messages
    assert (
        "1 of 1 layers" in message and "input_rank=10" in message and f"{100 * lost:.2g} %" in message and N in message
    )


def test_exact_ranks_are_read_in_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read(tmp_path, named(numbers(torch.float32, lokr_w1=(4, 4), lokr_w2=(8, 8))), rank=32)
    assert not caplog.messages


def test_parts_of_a_projection_are_one_block_diagonal_pair(tmp_path: Path) -> None:
    parts = {f"lora_down.{i}.weight": normal(2, 5, seed=i) for i in range(3)}
    parts |= {f"lora_up.{i}.weight": normal(m, 2, seed=9 + i) for i, m in enumerate((4, 4, 7))}
    wide = {part: tensor.double() for part, tensor in parts.items()}
    blocks = [wide[f"lora_up.{i}.weight"] @ wide[f"lora_down.{i}.weight"] for i in range(3)]
    module = read(tmp_path, named(parts, 1.0))
    assert module.rank == 6
    torch.testing.assert_close(update(module), 0.5 * torch.cat(blocks), rtol=1e-12, atol=1e-12)


BAD = {
    "LoHa of two shapes": (
        {"hada_w1_a": (9, 2), "hada_w1_b": (2, 7), "hada_w2_a": (8, 2), "hada_w2_b": (2, 7)},
        "(8, 7)",
    ),
    "LoHa of two ranks": (
        {"hada_w1_a": (9, 2), "hada_w1_b": (2, 7), "hada_w2_a": (9, 3), "hada_w2_b": (3, 7)},
        "[2, 3]",
    ),
    "LoHa without half": ({"hada_w1_a": (9, 2), "hada_w1_b": (2, 7)}, "no hada_w2_a and no hada_w2_b"),
    "LoKr of two ranks": (
        {"lokr_w1_a": (9, 2), "lokr_w1_b": (2, 7), "lokr_w2_a": (9, 3), "lokr_w2_b": (3, 7)},
        "[2, 3]",
    ),
    "LoKr of both kinds": (
        {"lokr_w1": (9, 7), "lokr_w1_a": (9, 2), "lokr_w1_b": (2, 7), "lokr_w2": (2, 2)},
        "one matrix or",
    ),
    "LoKr of a vector": ({"lokr_w1": (9,), "lokr_w2": (2, 2)}, "one matrix or"),
    "core that does not fit": (
        {"lokr_w1": (2, 2), "lokr_w2_a": (2, 5), "lokr_w2_b": (2, 4), "lokr_t2": (3, 3, 3, 3)},
        "(3, 3, 3, 3) does not fit",
    ),
    "core beside kernels": (
        {"lokr_w1": (2, 2), "lokr_w2_a": (2, 5, 1), "lokr_w2_b": (2, 4), "lokr_t2": (2, 2, 3)},
        "beside a core",
    ),
    "huge LoKr": ({"lokr_w1": (HUGE, 1), "lokr_w2": (1, HUGE)}, "40000 x 40000, expected at most"),
    "huge column": ({"lokr_w1": (HUGE, 1), "lokr_w2": (HUGE, 1)}, "1600000000 x 1, expected at most"),
    "huge LoHa": (
        {"hada_w1_a": (HUGE, 1), "hada_w1_b": (1, HUGE), "hada_w2_a": (HUGE, 1), "hada_w2_b": (1, HUGE)},
        "40000 x 40000, expected at most",
    ),
    "huge core": (
        {"lora_up.weight": (2, 1, 1, 1), "lora_down.weight": (1, HUGE, 1, 1), "lora_mid.weight": (1, 1, HUGE, 1)},
        "does not fit",
    ),
    "parts of two ranks": (
        {
            "lora_up.0.weight": (4, 2),
            "lora_down.0.weight": (2, 5),
            "lora_up.1.weight": (4, 3),
            "lora_down.1.weight": (3, 5),
        },
        "ranks [2, 3]",
    ),
    "parts for two inputs": (
        {
            "lora_up.0.weight": (4, 2),
            "lora_down.0.weight": (2, 5),
            "lora_up.1.weight": (4, 2),
            "lora_down.1.weight": (2, 6),
        },
        "inputs of shapes [(5,), (6,)]",
    ),
    "parts of convolutions": (
        {"lora_up.0.weight": (4, 2, 1, 1), "lora_down.0.weight": (2, 5, 3, 3)},
        "inputs of shapes [(5, 3, 3)]",
    ),
    "huge parts": (
        {
            **{f"lora_up.{i}.weight": (4096, 20) for i in range(64)},
            **{f"lora_down.{i}.weight": (20, 1) for i in range(64)},
        },
        "parts of ranks [20]",
    ),
    "a part missing": ({"lora_up.1.weight": (4, 2), "lora_down.1.weight": (2, 5)}, "no lora_up.0.weight"),
}


@pytest.mark.parametrize(("shapes", "problem"), BAD.values(), ids=BAD)
def test_what_does_not_fit_is_refused_before_anything_is_computed(tmp_path: Path, shapes: dict, problem: str) -> None:
    tensors = kohya_pair("good") | named({part: torch.zeros(shape) for part, shape in shapes.items()})
    with pytest.raises(LorafoldError) as caught:
        load(kohya_file(tmp_path / "a.safetensors", tensors))
    assert problem in str(caught.value) and caught.value.key.startswith(N) and caught.value.remedy


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_numbers_that_are_not_finite_are_named(tmp_path: Path, bad: float) -> None:
    parts = numbers(torch.float32, lokr_w1=(2, 2), lokr_w2=(3, 3))
    parts["lokr_w2"][1, 1] = bad
    with pytest.raises(LorafoldError, match=rf"{N}\.lokr_w2: holds NaN or Inf"):
        load(kohya_file(tmp_path / "a.safetensors", named(parts)))


@pytest.mark.parametrize("rank", [0, -1, 1.5, None])
def test_a_rank_to_cut_to_is_a_positive_integer(tmp_path: Path, rank: object) -> None:
    with pytest.raises(LorafoldError, match="input_rank"):
        load(kohya_file(tmp_path / "a.safetensors", kohya_pair()), rank=rank)


LINEAR, CONV = (12, 20), (12, 20, 3, 3)
THEIRS = [
    ("loha", LINEAR, {}),
    ("loha", LINEAR, {"rs_lora": True}),
    ("loha", CONV, {}),
    ("loha", CONV, {"use_tucker": True}),
    ("lokr", LINEAR, {}),
    ("lokr", LINEAR, {"factor": 2, "decompose_both": True}),
    ("lokr", LINEAR, {"full_matrix": True}),
    ("lokr", CONV, {}),
    ("lokr", CONV, {"use_tucker": True, "factor": 2}),
    ("locon", LINEAR, {}),
    ("locon", LINEAR, {"rs_lora": True}),
    ("locon", CONV, {"use_tucker": True}),
]


@pytest.mark.parametrize(("kind", "shape", "options"), THEIRS, ids=lambda value: str(value))
def test_lycoris_itself_computes_the_same(tmp_path: Path, kind: str, shape: tuple[int, ...], options: dict) -> None:
    _, module = theirs(kind, shape, options)
    state = {f"{N}.{key}": tensor.detach().clone() for key, tensor in module.state_dict().items()}
    expected = their_update(module).double().flatten(1)
    found = read(tmp_path, state)
    assert float(expected.abs().max()) > 1e-3
    torch.testing.assert_close(update(found), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def theirs(kind: str, shape: tuple[int, ...], options: dict) -> tuple[torch.nn.Module, torch.nn.Module]:
    """One of LyCORIS' modules on a layer, filled with random numbers."""
    pytest.importorskip("lycoris")
    from lycoris.modules.locon import LoConModule
    from lycoris.modules.loha import LohaModule
    from lycoris.modules.lokr import LokrModule

    torch.manual_seed(0)
    layer = torch.nn.Conv2d(shape[1], shape[0], shape[2:]) if len(shape) > 2 else torch.nn.Linear(shape[1], shape[0])
    make = {"loha": LohaModule, "lokr": LokrModule, "locon": LoConModule}[kind]
    module = make(N, layer, lora_dim=2, alpha=3.0, **options)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return layer, module


def their_update(module: torch.nn.Module) -> Tensor:
    """ΔW as their forward pass has it (`get_diff_weight` of LoHa and LoKr 4.1 applies the scale twice)."""
    if hasattr(module, "make_weight"):
        return module.get_diff_weight()[0].detach()
    return module.get_weight(module.shape).detach()


def test_an_adapter_in_memory_has_nothing_pending() -> None:
    assert not Adapter("kohya", {}).pending


def test_the_largest_layer_of_flux_2_fits(tmp_path: Path) -> None:
    """55296 x 6144, more numbers than any layer of Flux 1 has, from a file of 3 MB."""
    parts = {"lora_unet_a.lokr_w1": torch.ones(16, 16), "lora_unet_a.lokr_w2": torch.ones(3456, 384)}
    (module,) = load(kohya_file(tmp_path / "a.safetensors", parts), rank=1).modules.values()
    assert module.shape == (55296, 6144)
    torch.testing.assert_close(
        module.scale * module.up[:5].double() @ module.down[:, :3].double(), torch.ones(5, 3).double()
    )
