"""Adapters that nobody trained, with what a merge notices of trained ones.

Imitated, with the numbers that MiniLM adapters of ranks 4 to 24 (the shipped demo pair among them) show:

- names, shapes, dtype, ranks and alphas: exactly;
- spectrum: the j-th singular value of ΔW goes as j^-p, p ~ N(0.87, 0.2) per module and adapter (measured: medians 0.71
  to 0.98 per adapter);
- size: ‖ΔW‖ is log-normal over the modules, median 1.5 (1.0 to 4.1), deviation of its logarithm 0.45; every other
  adapter is smaller by 0.55;
- balance: B carries two thirds of the spectrum's decades and A one third, mixed by a random rotation: condition numbers
  of B and A as measured (9 and 3 at rank 24);
- overlap: the cosines of the principal angles between two adapters fall linearly with their number, as measured. On the
  left they make φ = 0.1 to 0.3, uniform over the modules, above chance; on the right there is chance alone. Which
  singular vectors are shared is random.

Not imitated: modules with B = 0, patterns of rank, correlation from layer to layer.

m = out, n = in, d = m or n, r = rank.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import torch
from cases import Case
from safetensors.torch import save_file
from shapes import Layer
from torch import Generator, Tensor

_DECAY, _DECAY_SPREAD = 0.87, 0.2
_NORM, _NORM_SPREAD, _NORM_RATIO = 1.5, 0.45, 0.55
_OVERLAP = (0.1, 0.3)
_UP_SHARE = 2 / 3
PREFIX = {"kohya": "", "peft": "base_model.model."}
UP = {"kohya": ".lora_up.weight", "peft": ".lora_B.weight"}
DOWN = {"kohya": ".lora_down.weight", "peft": ".lora_A.weight"}
_TENSORS = "adapter_model.safetensors"


def write_case(case: Case, data: Path) -> list[Path]:
    """The adapters of `case` below `data`: files (kohya) or folders (PEFT), written once, one in memory at a time."""
    paths = case_paths(case, data)
    for adapter, path in enumerate(paths):
        if not path.exists():
            scratch = path.with_name(f"unfinished-{path.name}")
            shutil.rmtree(scratch, ignore_errors=True)
            (_write_kohya if case.format == "kohya" else _write_peft)(case, adapter, scratch)
            scratch.replace(path)
    return paths


def case_paths(case: Case, data: Path) -> list[Path]:
    """Where `write_case` puts the adapters; other numbers in this file or in the case give other paths."""
    adapters = replace(case, title="", rank=0, at_most={}, at_least={})
    key = repr(adapters) + Path(__file__).read_text(encoding="utf-8")
    folder = data / sha256(key.encode()).hexdigest()[:12]
    suffix = ".safetensors" if case.format == "kohya" else ""
    return [folder / f"{number}{suffix}" for number in range(len(case.ranks))]


def tensor_file(path: Path) -> Path:
    """The safetensors file of an adapter."""
    return path / _TENSORS if path.is_dir() else path


def _write_kohya(case: Case, adapter: int, path: Path) -> None:
    rank, alpha = case.ranks[adapter], case.alphas[adapter]
    stated = {"ss_network_module": "networks.lora", "ss_network_dim": str(rank), "ss_network_alpha": str(alpha)}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(_tensors(case, adapter)), path, stated)


def _write_peft(case: Case, adapter: int, path: Path) -> None:
    targets = sorted({layer.name.rpartition(".")[2] for layer in case.layers})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "meta-llama/Meta-Llama-3-8B",
        "r": case.ranks[adapter],
        "lora_alpha": case.alphas[adapter],
        "target_modules": targets,
    }
    path.mkdir(parents=True)
    (path / "adapter_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    save_file(dict(_tensors(case, adapter)), path / _TENSORS, {"format": "pt"})


def _tensors(case: Case, adapter: int) -> Iterator[tuple[str, Tensor]]:
    dtype = getattr(torch, case.dtype)
    for layer in case.layers:
        up, down = factors(layer, case.ranks, case.alphas, adapter)
        rank, base = case.ranks[adapter], PREFIX[case.format] + layer.name
        area = [1] * len(layer.kernel)  # only 1 x 1 kernels are among the shapes
        yield base + DOWN[case.format], down.reshape(rank, layer.n, *area).to(dtype)
        yield base + UP[case.format], up.reshape(layer.m, rank, *area).to(dtype)
        if case.format == "kohya":
            yield f"{base}.alpha", torch.tensor(case.alphas[adapter], dtype=dtype)


def factors(layer: Layer, ranks: tuple[int, ...], alphas: tuple[float, ...], adapter: int) -> tuple[Tensor, Tensor]:
    """B (m, r) and A (r, n) of one layer in one adapter, in float32; ΔW = (alpha / r) B A."""
    common, own = _generator(layer.name), _generator(f"{layer.name} {adapter}")
    rank = ranks[adapter]
    low, high = _OVERLAP
    phi = low + (high - low) * torch.rand((), generator=common)
    shared = min(ranks)
    # Cosines that fall linearly from c to 0 have a mean square of c² / 3.
    cosines = (3 * phi).sqrt() * torch.linspace(1, 0, shared)
    left = _frame(torch.randn(layer.m, shared, generator=common), cosines, rank, own)
    right = _orthonormal(torch.randn(layer.n, rank, generator=own))
    sigma = _spectrum(rank, adapter, own) * (rank / alphas[adapter])
    rotation = _rotation(rank, own)
    return left * sigma**_UP_SHARE @ rotation, rotation.mT * sigma ** (1 - _UP_SHARE) @ right.mT


def _spectrum(rank: int, adapter: int, random: Generator) -> Tensor:
    """Singular values of ΔW.  (r,)"""
    decay = _DECAY + _DECAY_SPREAD * torch.randn((), generator=random)
    norm = _NORM * _NORM_RATIO ** (adapter % 2) * torch.exp(_NORM_SPREAD * torch.randn((), generator=random))
    sigma = torch.arange(1, rank + 1) ** -decay
    return norm * sigma / sigma.norm()


def _frame(common: Tensor, cosines: Tensor, rank: int, random: Generator) -> Tensor:
    """Orthonormal (d, rank); two of them for one `common` meet at the given cosines, up to chance."""
    noise = torch.randn(common.shape[0], rank, generator=random)
    shared = common.shape[1]
    noise[:, :shared] = cosines.sqrt() * common + (1 - cosines).sqrt() * noise[:, :shared]
    return _orthonormal(noise) @ _rotation(rank, random)


def _orthonormal(tall: Tensor) -> Tensor:
    """By Cholesky, many times faster than QR: tall random matrices are well conditioned."""
    L = torch.linalg.cholesky(tall.mT @ tall)
    return torch.linalg.solve_triangular(L, tall.mT, upper=False).mT


def _rotation(size: int, random: Generator) -> Tensor:
    return torch.linalg.qr(torch.randn(size, size, generator=random)).Q


def _generator(text: str) -> Generator:
    return torch.Generator().manual_seed(zlib.crc32(text.encode()))
