"""Ways to damage an adapter, one function each: at random, but the same for the same seed.

Most leave the file readable, for the deeper layers are to be reached: names, shapes, dtypes, numbers, configuration.
The last ones strike at bytes, header and size.
"""

from __future__ import annotations

import copy
import json
import math
import struct
from collections.abc import Callable
from random import Random
from typing import Any

from tests.trust.raw import Entry, Raw, packed
from tests.trust.seeds import Seed

_SIZE = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "F8_E8M0": 1, "F4": 0.5, "F6_E2M3": 0.75, "I16": 2,
    "U16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "C64": 8, "F64": 8, "I64": 8, "U64": 8,
}  # fmt: skip
_NUMBERS = (0.0, -0.0, 1e-45, -1e-40, 1e-30, 1e30, 3e38, -3e38, float("nan"), float("inf"), -float("inf"), 65504.0)
_SIZES = (0, 1, 2, 3, 4, 5, 6, 7, 9, 16, 128, 1000)
_PARTS = (
    "lora_up.weight", "lora_down.weight", "lora_mid.weight", "alpha", "dora_scale", "diff", "diff_b", "w_norm",
    "hada_w1_a", "hada_w2_b", "hada_t1", "lokr_w1", "lokr_w2_a", "lokr_t2", "lora_up.0.weight", "lora_down.999.weight",
    "lora_A.weight", "lora_B.weight", "lora_A.default.weight", "lora_B.bias", "lora_embedding_A",
    "lora_magnitude_vector", "lora_magnitude_vector.weight", "lora.down.weight", "oft_blocks", "bias_values",
    "set_weight", "reshape_weight", "weight", "",
)  # fmt: skip
_NAMES = (
    "", ".", "..", "../../etc/passwd", "/etc/passwd", "C:\\x", "~root", "a\nb", "\x1b[2J", "a\x00b", "\u202e", "é",
    "a" * 5000,
    "__metadata__", "lora_unet_", "unet.", "base_model.model.", "diffusion_model.", "a.b." * 300, "$(touch x)", "%s{}",
)  # fmt: skip
_JUNK: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3, 2**31, 2**63, 2**64, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), "",
    "x", "2", "(", "a" * 10000, "\ud800", [], [1], ["q_proj"], [[]], {}, {"a": 1}, {"(": 2}, {"(a+)+$": 2},
    {"(.*)*x": 2}, {".*": 2}, {"": 2}, {"q_proj": None}, {"q_proj": "2"}, {"q_proj": 2.5}, {"q_proj": True},
)  # fmt: skip

Damage = Callable[[Random, Seed], None]


def _pick(random: Random, file: Raw) -> Entry:
    return random.choice(file.entries)


def _reshaped(entry: Entry, shape: list[Any]) -> None:
    """The entry with another shape and as many numbers as that takes."""
    if not all(type(size) is int and size >= 0 for size in shape):
        return
    need = math.prod(shape) * int(_SIZE[entry.dtype] * 8) // 8
    if need <= 1 << 20:
        source = entry.data or b"\x01"
        entry.shape, entry.data = shape, (source * (need // len(source) + 1))[:need]


def drop_tensor(random: Random, seed: Seed) -> None:
    seed.file.entries.remove(_pick(random, seed.file))


def duplicate_tensor(random: Random, seed: Seed) -> None:
    seed.file.entries.append(_pick(random, seed.file))


def other_dtype(random: Random, seed: Seed) -> None:
    """The numbers of another dtype; half of the time with as many bytes as it takes."""
    entry = _pick(random, seed.file)
    entry.dtype = random.choice(list(_SIZE))
    if random.random() < 0.8:
        _reshaped(entry, entry.shape)


def other_shape(random: Random, seed: Seed) -> None:
    entry = _pick(random, seed.file)
    shape = list(entry.shape)
    match random.randrange(5):
        case 0 if shape:
            shape[random.randrange(len(shape))] = random.choice(_SIZES)
        case 1:
            shape.append(random.choice(_SIZES[:6]))
        case 2 if shape:
            shape.pop(random.randrange(len(shape)))
        case 3:
            random.shuffle(shape)
        case _:
            shape = [1] * random.choice((0, 1, 6, 40, 300))
    _reshaped(entry, shape)


def rank_of_a_pair(random: Random, seed: Seed) -> None:
    """Every size of 2 becomes another one: ranks beyond the layer, or none."""
    rank = random.choice((0, 1, 3, 50, 200))
    stem = _pick(random, seed.file).key.rpartition(".lora_")[0]
    for entry in seed.file.entries:
        if stem and entry.key.startswith(stem):
            _reshaped(entry, [rank if size == 2 else size for size in entry.shape])


def declared_shape(random: Random, seed: Seed) -> None:
    """A shape that the bytes do not have."""
    entry = _pick(random, seed.file)
    huge: list[Any] = [2**20, 2**40, 2**62, 2**63, 2**64, -1, 0, 1.5, "2", None, [2]]
    entry.shape = [random.choice([*huge, 1, 2]) for _ in range(random.choice((1, 2, 3, 5)))]
    if random.random() < 0.3:
        entry.shape, entry.data = [0, *entry.shape], b""


def numbers(random: Random, seed: Seed) -> None:
    """Some or all numbers of a tensor become special ones."""
    entry = _pick(random, seed.file)
    form = {"F32": "<f", "F64": "<d", "F16": "<e"}.get(entry.dtype)
    if form is None or not entry.data:
        return
    value = random.choice(_NUMBERS)
    if form == "<e" and abs(value) > 65504:
        value = float("inf")
    width, data = struct.calcsize(form), bytearray(entry.data)
    every = random.random() < 0.4
    for at in range(0, len(data), width) if every else [width * random.randrange(len(data) // width)]:
        data[at : at + width] = struct.pack(form, value)
    entry.data = bytes(data)


def random_numbers(random: Random, seed: Seed) -> None:
    entry = _pick(random, seed.file)
    entry.data = random.randbytes(len(entry.data))


def alpha(random: Random, seed: Seed) -> None:
    found = [entry for entry in seed.file.entries if entry.key.endswith("alpha")]
    if not found:
        return
    value = random.choice((-1.0, 0.0, 1e38, -1e38, 1e-45, float("nan"), float("inf"), 3.0))
    random.choice(found).data = struct.pack("<f", value)


def other_name(random: Random, seed: Seed) -> None:
    """Another part of the layer, another layer, or a trick."""
    entry = _pick(random, seed.file)
    stem, _, part = entry.key.partition(".")
    match random.randrange(4):
        case 0:
            entry.key = f"{stem}.{random.choice(_PARTS)}"
        case 1:
            entry.key = f"{random.choice(_NAMES)}.{part}"
        case 2:
            entry.key = random.choice(_NAMES)
        case _:
            at = random.randrange(len(entry.key) + 1)
            entry.key = entry.key[:at] + random.choice(("", ".", "_", "0", "\n", "\x7f")) + entry.key[at + 1 :]


def renamed_layer(random: Random, seed: Seed) -> None:
    """A whole layer under another name."""
    stem = _pick(random, seed.file).key.split(".lora_")[0].rpartition(".")[0] or "lora_unet_a"
    name = random.choice(_NAMES)
    for entry in seed.file.entries:
        entry.key = entry.key.replace(stem, name)


def added_tensor(random: Random, seed: Seed) -> None:
    """A tensor of another part, perhaps of another format."""
    entry = _pick(random, seed.file)
    stem = entry.key.partition(".")[0] if random.random() < 0.7 else random.choice(_NAMES)
    seed.file.entries.append(type(entry)(f"{stem}.{random.choice(_PARTS)}", entry.dtype, entry.shape, entry.data))


def offsets(random: Random, seed: Seed) -> None:
    by = random.choice((-(2**63), -1000, -4, -1, 1, 4, 1000, 2**63))
    _pick(random, seed.file).shift = random.choice(((by, 0), (0, by), (by, by)))


def metadata(random: Random, seed: Seed) -> None:
    """The metadata, an entry of it, or a value in the JSON of an entry."""
    found = seed.file.metadata
    if not isinstance(found, dict) or random.random() < 0.15:
        seed.file.metadata = copy.deepcopy(random.choice(_JUNK))
        return
    key = random.choice([*found, "ss_tag_frequency", "ss_network_args", "ss_resolution", "lorafold", "modelspec.tags",
                         "modelspec.architecture", "lora_adapter_metadata"])  # fmt: skip
    content = _loaded(found.get(key))
    if isinstance(content, dict) and content and random.random() < 0.7:
        content[random.choice([*content, "unet.r", "unet.use_dora", "x"])] = copy.deepcopy(random.choice(_JUNK))
        found[key] = json.dumps(content)
    else:
        junk = copy.deepcopy(random.choice(_JUNK))
        found[key] = random.choice((junk, str(junk), json.dumps(junk), "[" * 3000, '{"a":' * 2000))


def _loaded(value: Any) -> Any:
    try:
        return json.loads(value)
    except (TypeError, ValueError, RecursionError):
        return None


def config(random: Random, seed: Seed) -> None:
    """A value of the configuration, or all of it."""
    if seed.config is None:
        return metadata(random, seed)
    if not isinstance(seed.config, dict) or random.random() < 0.05:
        seed.config = copy.deepcopy(random.choice(_JUNK))
        return None
    further = ("use_rslora", "fan_in_fan_out", "use_dora", "layers_to_transform", "exclude_modules", "lora_bias",
               "target_parameters", "init_lora_weights", "arrow_config", "auto_mapping", "x")  # fmt: skip
    seed.config[random.choice([*seed.config, *further])] = copy.deepcopy(random.choice(_JUNK))
    return None


DAMAGES: tuple[Damage, ...] = (
    drop_tensor, duplicate_tensor, other_dtype, other_shape, rank_of_a_pair, declared_shape, numbers, random_numbers,
    alpha, other_name, renamed_layer, added_tensor, offsets, metadata, config, config,
)  # fmt: skip


def flip_bits(random: Random, data: bytes) -> bytes:
    """A few bits, most of them in the header."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 5, 20))):
        at = random.randrange(min(len(data), 1500) if random.random() < 0.8 else len(data))
        changed[at] ^= 1 << random.randrange(8)
    return bytes(changed)


def cut(random: Random, data: bytes) -> bytes:
    return data[: random.randrange(len(data))]


def insert(random: Random, data: bytes) -> bytes:
    at = random.randrange(len(data))
    return data[:at] + random.randbytes(random.choice((1, 2, 8, 100))) + data[at:]


def remove(random: Random, data: bytes) -> bytes:
    at = random.randrange(len(data))
    return data[:at] + data[at + random.choice((1, 2, 8, 100)) :]


def repeat(random: Random, data: bytes) -> bytes:
    at, size = random.randrange(len(data)), random.choice((1, 8, 64, 500))
    return data[:at] + data[at : at + size] + data[at:]


def lie_about_the_header(random: Random, data: bytes) -> bytes:
    size = int.from_bytes(data[:8], "little")
    lie = random.choice((0, 1, 2, size - 1, size + 1, len(data), 2**31, 2**40, 2**63, 2**64 - 1, 10**8, 10**8 + 1))
    return lie.to_bytes(8, "little") + data[8:]


def text_of_the_header(random: Random, data: bytes) -> bytes:
    """JSON that is not, or is deep, or no UTF-8."""
    size = int.from_bytes(data[:8], "little")
    header, at = data[8 : 8 + size], random.randrange(size)
    piece = random.choice(
        (
            b"\xff",
            b"\xc0\x80",
            b'"',
            b"{",
            b"[",
            b"]]]",
            b"null",
            b"[" * 5000,
            b'{"a":' * 500,
            b"\\ud800",
            b"\x00",
            b",",
        )
    )
    return packed(header[:at] + piece + header[at + random.choice((0, 1)) :], data[8 + size :])


STRIKES = (flip_bits, cut, insert, remove, repeat, lie_about_the_header, text_of_the_header)
