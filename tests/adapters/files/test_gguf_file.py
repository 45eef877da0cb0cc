"""Damaged and hostile GGUF files: every one is refused in a line, at once, whatever its header claims."""

from __future__ import annotations

import struct
from pathlib import Path
from random import Random

import pytest
import torch

from lorafold.adapters import check_finite, load
from lorafold.common.errors import LorafoldError
from tests.adapters.language import gguf_file, peft_adapter

pytest.importorskip("gguf")


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def entry(key: str, code: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", code) + value


ADAPTER = [entry("general.type", 8, text("adapter")), entry("adapter.type", 8, text("lora"))]
ADAPTER += [entry("general.architecture", 8, text("qwen2"))]


def place(name: str, shape: tuple[int, ...], code: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, code, offset)


def written(path: Path, entries: list[bytes], places: list[bytes], data: bytes = b"", **said: int) -> Path:
    """A file whose header may say another version or other counts than there are."""
    counts = {"version": 3, "tensors": len(places), "values": len(entries), **said}
    head = struct.pack("<4sIQQ", b"GGUF", counts["version"], counts["tensors"], counts["values"])
    head += b"".join((*entries, *places))
    path.write_bytes(head + bytes(-len(head) % 32) + data)
    return path


PAIR = [place("blk.0.attn_q.weight.lora_a", (3, 1)), place("blk.0.attn_q.weight.lora_b", (1, 2), offset=32)]
DATA = struct.pack("<3f", 1, 2, 3) + bytes(20) + struct.pack("<2f", 4, 5)


def test_what_is_written_by_hand_is_read(tmp_path: Path) -> None:
    more = [entry("a.list", 9, struct.pack("<IQ", 8, 2) + text("x") + text("yz")), entry("a.flag", 7, b"\1")]
    module = load(written(tmp_path / "a.gguf", ADAPTER + more, PAIR, DATA)).modules["blk.0.attn_q"]
    assert module.down.tolist() == [[1, 2, 3]] and module.up.tolist() == [[4], [5]] and module.scale == 1.0


@pytest.mark.parametrize(
    ("entries", "places", "counts", "problem"),
    [
        (ADAPTER, PAIR, {"version": 1}, "version 1 of GGUF"),
        (ADAPTER, PAIR, {"version": 3 << 24}, "little-endian"),
        (ADAPTER, [], {}, "holds no tensors"),
        (ADAPTER, PAIR, {"tensors": 2**63}, "ends in the middle of its header|there twice|axes|shape"),
        (ADAPTER, PAIR, {"values": 2**63}, "unknown type|ends in the middle|there twice"),
        ([*ADAPTER, entry("x", 8, struct.pack("<Q", 2**60))], PAIR, {}, f"says that {2**60} bytes follow"),
        ([*ADAPTER, entry("x", 9, struct.pack("<IQ", 4, 2**62))], PAIR, {}, f"says that {2**64} bytes follow"),
        ([*ADAPTER, entry("x", 9, struct.pack("<IQ", 9, 2**62))], PAIR, {}, "an array of the unknown type 9"),
        ([*ADAPTER, entry("x", 99, b"")], PAIR, {}, "an entry of the unknown type 99"),
        ([*ADAPTER, entry("general.alignment", 4, bytes(4))], PAIR, {}, "general.alignment 0"),
        (ADAPTER + ADAPTER, PAIR, {}, "'general.type' there twice"),
        (ADAPTER, [PAIR[0], PAIR[0]], {}, "lora_a' there twice"),
        (ADAPTER, [place("a.weight.lora_a", (1,) * 5)], {}, "a tensor of 5 axes"),
        (ADAPTER, [place("a.weight.lora_a", (2**63, 2**63))], {}, "a tensor of shape"),
        (ADAPTER, [place("a.weight.lora_a", (0, 2**20))], {}, "a tensor of shape"),
        (ADAPTER, [place("a.weight.lora_a", (2**39, 2**39))], {}, "bytes at"),
        (ADAPTER, [place("a.weight.lora_a", (3, 1), offset=2**62)], {}, "bytes at"),
        (ADAPTER, [place("a.weight.lora_a", (3, 1), code=77)], {}, "of the unknown type 77"),
        (ADAPTER, [place("a.weight.lora_a", (3, 1), code=8)], {}, "in blocks of 32"),
        (ADAPTER, [place("a.weight.lora_a", (3, 1), code=24)], {}, "type I8, which the package gguf cannot undo"),
        (ADAPTER, [place("blk.0.attn_q.weight", (3, 1))], {}, "this is a whole model"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, entries, places, counts, problem) -> None:
    path = written(tmp_path / "a.gguf", entries, places, DATA, **counts)
    with pytest.raises(LorafoldError, match=problem) as caught:
        load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_wherever_it_is_cut_off_it_is_refused(tmp_path: Path) -> None:
    whole = gguf_file(tmp_path / "a.gguf", peft_adapter(blocks=1)).read_bytes()
    used = len(whole.rstrip(b"\0"))  # the last tensor is padded
    for size in range(5, used, 37):
        (tmp_path / "cut.gguf").write_bytes(whole[:size])
        with pytest.raises(LorafoldError, match=r"cut\.gguf.*(damaged|export it again)"):
            load(tmp_path / "cut.gguf")


def struck(whole: bytes, random: Random) -> bytes:
    """The bytes with one to four of them, a length, or a stretch changed."""
    content = bytearray(whole)
    for _ in range(random.choice((1, 1, 2, 4))):
        place, length = random.randrange(8, 1000), random.randrange(1, 40)
        stretch = random.choice((b"", random.randbytes(length)))
        big = random.choice((0, 2**16, 2**32, 2**62, 2**64 - 1)).to_bytes(8, "little")
        new, replaced = random.choice(((random.randbytes(1), 1), (big, 8), (stretch, length), (stretch, 0)))
        content[place : place + replaced] = new
    return bytes(content)


def test_random_damage_is_read_or_refused_in_a_line(tmp_path: Path) -> None:
    whole, refused = gguf_file(tmp_path / "a.gguf", peft_adapter(blocks=1)).read_bytes(), 0
    for number in range(250):
        (tmp_path / "struck.gguf").write_bytes(struck(whole, Random(number)))
        try:
            check_finite(load(tmp_path / "struck.gguf"))
        except LorafoldError as error:
            refused += 1
            assert str(error).startswith(str(tmp_path)) and str(error).isprintable() and len(str(error)) < 2000
    assert 100 < refused < 250


def test_nan_is_named_by_its_key(tmp_path: Path) -> None:
    from lorafold.pipelines.merge.pipeline import merge

    adapter = peft_adapter(blocks=1)
    next(iter(adapter.modules.values())).up[0, 0] = torch.nan
    path = gguf_file(tmp_path / "a.gguf", adapter, architecture="qwen2", permuted=False)
    with pytest.raises(LorafoldError, match=r"a\.gguf: blk\.0\.attn_q\.weight\.lora_b: holds NaN"):
        merge([path, path])
