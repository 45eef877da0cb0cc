"""What cannot be read is refused in one line: the file, the key, what was expected, and the remedy."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lorafold.adapters import check_finite, load
from lorafold.common.errors import LorafoldError
from tests.adapters.samples import PREFIX, kohya_file, kohya_pair, normal, peft_folder, peft_pair

N, DOWN, UP = "lora_unet_a", "lora_unet_a.lora_down.weight", "lora_unet_a.lora_up.weight"
MID, ALPHA = f"{N}.lora_mid.weight", f"{N}.alpha"
Q = f"{PREFIX}block.q_proj"
A, B = f"{Q}.lora_A.weight", f"{Q}.lora_B.weight"
ALONE = {DOWN: None, UP: None}  # without the good module
NAN, INF = torch.tensor(torch.nan), torch.tensor(torch.inf)
x = normal(2, 2)


def kohya(folder: Path, changes: dict) -> Path:
    """A file of one module, with tensors added, changed or (None) left out."""
    tensors = {key: value for key, value in (kohya_pair() | changes).items() if value is not None}
    return kohya_file(folder / "a.safetensors", tensors)


def peft(folder: Path, changes: dict, **config) -> Path:
    """A folder of one module, likewise."""
    tensors = {key: value for key, value in (peft_pair() | changes).items() if value is not None}
    return peft_folder(folder, tensors, **config)


def refusal(path: Path) -> LorafoldError:
    with pytest.raises(LorafoldError) as caught:
        load(path)
    assert "\n" not in str(caught.value) and caught.value.remedy
    return caught.value


def check(error: LorafoldError, path: Path, key: str | None, problem: str, remedy: str) -> None:
    message = str(error)
    assert message.startswith(f"{path}: " if key is None else f"{path}: {key}: "), message
    assert problem in message and remedy in error.remedy, message


def named(rows: list[tuple]) -> dict:
    """Arguments of `parametrize` for rows whose first column is their name."""
    return {"argvalues": [row[1:] for row in rows], "ids": [row[0] for row in rows]}


def written(**contents: bytes) -> Callable[[Path], Path]:
    """A folder of files; `__` in a name stands for a dot."""

    def build(folder: Path) -> Path:
        for name, content in contents.items():
            (folder / name.replace("__", ".")).write_bytes(content)
        return folder

    return build


def only(content: bytes, name: str = "a.safetensors") -> Callable[[Path], Path]:
    return lambda folder: written(**{name.replace(".", "__"): content})(folder) / name


def cut(size: int) -> Callable[[Path], Path]:
    """A good file without its last `size` bytes."""
    return lambda folder: only(kohya(folder, {}).read_bytes()[:-size])(folder)


def extended(folder: Path) -> Path:
    """A good file and one byte more."""
    return only(kohya(folder, {}).read_bytes() + b"x")(folder)


FILES = [
    # what, build, file named in the message, problem, remedy
    ("nothing there", lambda folder: folder / "none.safetensors", "none.safetensors", "no such file", "Check"),
    ("empty", only(b""), "a.safetensors", "empty", "Download"),
    ("garbage", only(b"hello, this is no file of tensors" * 9), "a.safetensors", "not a readable", "Download"),
    ("zeros", only(bytes(100)), "a.safetensors", "not a readable", "Download"),
    (
        "git lfs pointer",
        only(b"version https://git-lfs.github.com/spec/v1\n"),
        "a.safetensors",
        "a Git LFS pointer",
        "git lfs pull",
    ),
    ("header cut off", only(b"\x40" + bytes(7) + b'{"a":'), "a.safetensors", "not a readable", "interrupted"),
    ("last byte cut off", cut(1), "a.safetensors", "not a readable", "interrupted"),
    ("last factor cut off", cut(60), "a.safetensors", "not a readable", "interrupted"),
    ("a byte too many", extended, "a.safetensors", "not a readable", "interrupted"),
    ("no tensors", only(b"\x02" + bytes(7) + b"{}"), "a.safetensors", "no tensors", "Download"),
    (".bin", only(b"x", "a.bin"), "a.bin", "pickle", "weights_only=True"),
    (".pt", only(b"x", "a.pt"), "a.pt", "pickle", "save_file"),
    (".pth", only(b"x", "a.pth"), "a.pth", "pickle", "save_file"),
    (".ckpt", only(b"x", "a.ckpt"), "a.ckpt", "pickle", "save_file"),
    ("folder with .bin", written(adapter_model__bin=b"", x__json=b""), "adapter_model.bin", "pickle", "save_file"),
    ("folder without adapter", written(readme__md=b"x"), "", "no safetensors", "adapter_model.safetensors"),
    ("folder with two", written(b__safetensors=b"", c__safetensors=b""), "", "2 safetensors", "b.safetensors, c.saf"),
]


@pytest.mark.parametrize(("build", "file", "problem", "remedy"), **named(FILES))
def test_file_refused(tmp_path, build, file, problem, remedy):
    check(refusal(build(tmp_path)), tmp_path / file, None, problem, remedy)


KOHYA = [
    # what, changes to a good file, key in the message, problem, remedy
    (
        "unknown names",
        ALONE | {"x.y": x},
        None,
        "names (x.y, ...) are of no known format; known: comfyui, diffusers, gguf, kohya, mlx, peft",
        "Convert",
    ),
    ("DoRA", {f"{N}.dora_scale": normal(6, 1)}, f"{N}.dora_scale", "DoRA, which cannot be merged without", "base=PATH"),
    ("DoRA of another size", {f"{N}.dora_scale": x}, f"{N}.dora_scale", "(2, 2), expected (6, 1, ...)", "again"),
    ("half a LoHa", {"b.hada_w1_a": x}, "b.hada_w1_a", "no hada_w1_b", "again"),
    ("half a LoKr", {"b.lokr_w1": x}, "b.lokr_w1", "no lokr_w2_a and no lokr_w2_b", "again"),
    ("LoHa and LoRA", {f"{N}.hada_w1_a": x}, f"{N}.hada_w1_a", "LoHa and LoRA for one layer", "one update"),
    ("whole difference and LoRA", {f"{N}.diff": x}, f"{N}.diff", "a whole difference beside factors", "one update"),
    ("GLoRA", {"b.a1.weight": x}, "b.a1.weight", "GLoRA", "Extract"),
    ("OFT", {"b.oft_blocks": x}, "b.oft_blocks", "OFT", "Extract"),
    ("whole weight", {"b.set_weight": x}, "b.set_weight", "replaces that of the base model", "Extract"),
    ("sparse bias", {"b.bias_values": x}, "b.bias_values", "a sparse bias", "Extract"),
    ("part beside LoRA", {f"{N}.lora_up.0.weight": x}, DOWN, "LoRA and LoRA in parts for one layer", "one update"),
    ("half a part", {"b.lora_up.0.weight": x}, "b.lora_up.0.weight", "no lora_down.0.weight", "again"),
    ("IA3", {"b.on_input": x}, "b.on_input", "not a tensor that lorafold knows", "Extract"),
    ("unknown suffix", {f"{N}.sparse": x}, f"{N}.sparse", "not a tensor that lorafold knows", "Extract"),
    ("up without down", {DOWN: None}, UP, "no lora_down.weight", "again"),
    ("down without up", {UP: None}, DOWN, "no lora_up.weight", "again"),
    ("alpha alone", {"b.alpha": torch.tensor(1.0)}, "b.alpha", "no lora_up.weight and no lora_down.weight", "again"),
    ("ranks differ", {UP: normal(6, 3)}, UP, f"rank 3 (shape (6, 3)), but {DOWN} has rank 2", "again"),
    ("up with a kernel", {UP: normal(6, 2, 3, 3)}, UP, "(6, 2, 3, 3)", "Only the down"),
    ("vector", {UP: normal(6)}, UP, "(6,), expected 2 to 5 axes", "again"),
    ("zero-sized", {UP: torch.zeros(0, 2)}, UP, "empty, shape (0, 2)", "gather"),
    ("core of another rank", {MID: normal(3, 3, 3, 3)}, MID, "(3, 3, 3, 3) does not fit", "again"),
    ("int8", {UP: torch.ones(6, 2, dtype=torch.int8)}, UP, "int8, expected float16", "quantisation"),
    ("complex", {"n.diff": x.to(torch.complex64)}, "n.diff", "complex64, expected float16", "quantisation"),
    ("alpha NaN", {ALPHA: NAN}, ALPHA, "nan", "again"),
    ("alpha Inf", {ALPHA: INF}, ALPHA, "inf", "again"),
    ("alpha of two", {ALPHA: torch.ones(2)}, ALPHA, "of shape (2,), expected one finite number", "again"),
]


@pytest.mark.parametrize(("changes", "key", "problem", "remedy"), **named(KOHYA))
def test_kohya_refused(tmp_path, changes, key, problem, remedy):
    check(refusal(kohya(tmp_path, changes)), tmp_path / "a.safetensors", key, problem, remedy)


PEFT = [
    ("DoRA", {f"{Q}.lora_magnitude_vector": normal(6)}, f"{Q}.lora_magnitude_vector", "DoRA", "base=PATH"),
    ("DoRA of another size", {f"{Q}.lora_magnitude_vector": x}, f"{Q}.lora_magnitude_vector", "expected (6,)", "again"),
    ("unknown lora tensor", {f"{Q}.lora_diag": x}, f"{Q}.lora_diag", "not a tensor that", "Extract"),
    ("bias of A", {f"{Q}.lora_A.bias": x}, f"{Q}.lora_A.bias", "not a tensor that", "Extract"),
    ("no prefix", {"head.weight": x}, "head.weight", "not a tensor that", "Extract"),
    ("only other tensors", {A: None, B: None, f"{Q}.weight": x}, None, "no LoRA factors", "Choose"),
    ("A without B", {B: None}, A, "no lora_B.weight", "again"),
    (
        "linear and embedding",
        {f"{Q}.lora_embedding_A": x, f"{Q}.lora_embedding_B": x.clone()},
        A,
        "not a tensor",
        "Extract",
    ),
    ("bias of another size", {f"{Q}.lora_B.bias": normal(5)}, f"{Q}.lora_B.bias", "(5,), expected (6,)", "again"),
    ("ranks differ", {B: normal(6, 3)}, B, f"rank 3 (shape (6, 3)), but {A} has rank 2", "again"),
    ("two adapters", peft_pair("block.v", adapter=".second"), None, "2 adapters: None, second", "selected_adapters"),
]


@pytest.mark.parametrize(("changes", "key", "problem", "remedy"), **named(PEFT))
def test_peft_tensor_refused(tmp_path, changes, key, problem, remedy):
    check(refusal(peft(tmp_path, changes)), tmp_path / "adapter_model.safetensors", key, problem, remedy)


CONFIG = [
    # what, changes to a good configuration, key in the message (the same, if a word), problem, remedy
    ("KaSA", {"kasa_config": {"beta": 1}}, "kasa_config", "not a plain LoRA", "plain LoRA"),
    ("another method", {"peft_type": "OFT"}, "peft_type", "'OFT', expected 'LORA'", "Only LoRA"),
    ("no method", {"peft_type": None}, "peft_type", "None, expected 'LORA'", "Only LoRA"),
    ("rank zero", {"r": 0}, "r", "0, expected a positive integer", "Correct"),
    ("rank a string", {"r": "2"}, "r", "'2', expected a positive integer", "Correct"),
    ("alpha null", {"lora_alpha": None}, "lora_alpha", "None, expected a finite number", "Correct"),
    ("alpha NaN", {"lora_alpha": float("nan")}, "lora_alpha", "nan, expected a finite number", "Correct"),
    ("pattern a list", {"rank_pattern": [1]}, "rank_pattern", "[1], expected a JSON object", "Correct"),
    ("pattern value", {"rank_pattern": {"q": 1.5}}, "rank_pattern['q']", "1.5, expected a positive integer", "Correct"),
    ("pattern too slow", {"rank_pattern": {"(.*)*(.*)*x": 2}}, "rank_pattern", "could take forever", "need no * and +"),
    ("pattern no regex", {"alpha_pattern": {"(": 2}}, "alpha_pattern", "not a regular expression", "Correct"),
]


@pytest.mark.parametrize(("config", "key", "problem", "remedy"), **named(CONFIG))
def test_peft_configuration_refused(tmp_path, config, key, problem, remedy):
    check(refusal(peft(tmp_path, {}, **config)), tmp_path / "adapter_config.json", key, problem, remedy)


@pytest.mark.parametrize(
    ("text", "problem", "remedy"),
    [
        pytest.param(None, "missing", "beside its tensors", id="missing"),
        pytest.param(b'{"r": ', "not readable as JSON", "Correct", id="cut off"),
        pytest.param(b"\xff\xfe\x00", "not readable as JSON", "Correct", id="no text"),
        pytest.param(b"[]", "not a JSON object", "Correct", id="list"),
    ],
)
def test_peft_configuration_file_refused(tmp_path, text, problem, remedy):
    config = peft(tmp_path, {}) / "adapter_config.json"
    config.unlink() if text is None else config.write_bytes(text)
    check(refusal(tmp_path), config, None, problem, remedy)


def test_dora_without_magnitudes_is_refused(tmp_path):
    error = refusal(peft(tmp_path, {}, use_dora=True))
    check(error, tmp_path / "adapter_model.safetensors", A, "no lora_magnitude_vector", "again")


def test_a_rank_other_than_configured_is_refused_as_peft_does(tmp_path):
    error = refusal(peft(tmp_path, {}, r=4, rank_pattern={"q_proj": 3}))
    check(error, tmp_path / "adapter_model.safetensors", A, "rank 2, but adapter_config.json says 3", "rank_pattern")


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("build", "key"), [(kohya, UP), (peft, B)], ids=["kohya", "peft"])
def test_numbers_that_are_not_finite_are_found_on_request(tmp_path, build, key, dtype, bad):
    up = normal(6, 2, dtype=dtype)
    up[4, 1] = bad
    adapter = load(build(tmp_path, {key: up}))  # load itself does not look
    with pytest.raises(LorafoldError) as caught:
        check_finite(adapter)
    check(caught.value, adapter.path, key, "holds NaN or Inf", "earlier checkpoint")


def test_the_largest_numbers_pass(tmp_path):
    largest = torch.full((6, 2), torch.finfo(torch.float16).max, dtype=torch.float16)
    adapter = load(kohya(tmp_path, {UP: largest}))
    check_finite(adapter)  # raises otherwise
    assert float(next(iter(adapter.modules.values())).up.max()) == torch.finfo(torch.float16).max


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt"])
def test_a_pickles_code_is_never_run(tmp_path, name):
    trap = b"cos\nmkdir\n(V" + str(tmp_path / "pwned").encode() + b"\ntR."
    refusal(only(trap, name)(tmp_path))
    assert not (tmp_path / "pwned").exists()


def test_the_remedy_for_a_pickle_works(tmp_path):
    torch.save(kohya_pair(), tmp_path / "a.pt")
    code = re.search(r'python -c "(.*)"', refusal(tmp_path / "a.pt").remedy)
    exec(code[1])
    assert list(load(tmp_path / "a.safetensors").modules) == [N]
