"""What people take for an adapter and is none, by names of tensors, first bytes or neighbours: said in one line."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Collection
from pathlib import Path

from lorafold.common.errors import LorafoldError
from lorafold.common.shell import command_line

_ADAPTER = "Name an adapter (LoRA) for that model."
_LORA = "Name a LoRA."
# Names of tensors that tell what a file is, the more specific first.
_CONTENTS = (
    (r"^\d+\.eigenvalues$", "a file of statistics, not a LoRA", "Name the adapter, and this as calibration=."),
    (r"^(emb_params|string_to_param|clip_[lg]|\*)$|^<.+>$", "a textual-inversion embedding, not a LoRA", _LORA),
    (r"^(control_model|controlnet_cond_embedding|input_hint_block|lora_controlnet)", "a ControlNet, not a LoRA", _LORA),
    (r"^controlnet_", "a ControlNet, not a LoRA", _LORA),
    (r"^(image_proj|ip_adapter)\.", "an IP-Adapter, not a LoRA", _LORA),
    (r"^(model\.diffusion_model|first_stage_model|cond_stage_model|conditioner)\.", "a whole checkpoint", _ADAPTER),
    (r"^(encoder|decoder)\.(down|up|mid)(_block)?s?\.", "a VAE, not a LoRA", _LORA),
    (
        r"(^|\.)(layers|h|layer|blk|block|blocks|double_blocks|single_blocks|joint_blocks|transformer_blocks)\.\d+\..*"
        r"(weight|bias)$",
        "a whole model",
        _ADAPTER,
    ),
    (r"^(down_blocks|up_blocks|mid_block|input_blocks|output_blocks|middle_block)\.", "a whole U-Net", _ADAPTER),
)
# First bytes of files that are no safetensors.
_BYTES = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "Fetch it with 'git lfs pull'."),
    (b"\x80", "a pickle, whatever its name says", "Export it as safetensors with the tool that wrote it."),
    (b"{", "text (JSON), not a file of tensors", "Name the adapter's folder or its safetensors file."),
)
_PAGE = re.compile(rb"\s*<(!doctype|html|\?xml|head)", re.IGNORECASE)
_STATE = re.compile(r"(optimizer|scheduler|scaler|rng_state|random_states|training_args|global_step)", re.IGNORECASE)


def recognised(path: Path, keys: Collection[str]) -> LorafoldError | None:
    """The refusal of a safetensors file with tensors of such names; None where they tell nothing."""
    for pattern, what, remedy in _CONTENTS:
        regex = re.compile(pattern)
        if key := next((key for key in keys if regex.search(key)), None):
            return LorafoldError(f"this is {what} (by its tensor {key})", path=path, remedy=remedy)
    return None


def mistaken(path: Path) -> LorafoldError | None:
    """The refusal of a file that is no safetensors, by its first bytes; nothing of it is run or unpacked."""
    with path.open("rb") as file:
        head = file.read(64)
    if _PAGE.match(head):
        return LorafoldError(
            "a web page, not a file of tensors: the download failed", path=path, remedy="Log in there, or use its API."
        )
    if head.startswith(b"PK"):
        return _archive(path)
    for start, what, remedy in _BYTES:
        if head.startswith(start):
            return LorafoldError(f"this is {what}", path=path, remedy=remedy)
    return None


def _archive(path: Path) -> LorafoldError:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        names = []
    if any(name.endswith("data.pkl") for name in names):
        return LorafoldError(
            "this is a pickle, whatever its name says",
            path=path,
            remedy="Export it as safetensors with the tool that wrote it.",
        )
    return LorafoldError("this is a zip archive", path=path, remedy="Unpack it, and name the adapter in it.")


def training_state(path: Path) -> LorafoldError | None:
    """The refusal of what a trainer needs to go on."""
    if _STATE.match(path.name):
        return LorafoldError(
            "this is the state of a training, not an adapter",
            path=path,
            remedy="Name the adapter_model.safetensors that the trainer wrote, or its folder.",
        )
    return None


def folder_of(path: Path) -> LorafoldError | None:
    """The refusal of a configuration or index in place of the folder that it lies in."""
    if path.name in ("adapter_config.json", "adapter_model.safetensors.index.json"):
        return LorafoldError("a configuration, not an adapter", path=path, remedy=f"Give its folder: {path.parent}.")
    if path.name.endswith(".safetensors.index.json"):
        return _model(path)
    return None


def whole_model(folder: Path) -> LorafoldError | None:
    """The refusal of a model's folder: in shards, or of a diffusers pipeline."""
    for name in ("model_index.json", *sorted(file.name for file in folder.glob("*.safetensors.index.json"))):
        if (folder / name).is_file():
            return _model(folder / name)
    return None


def _model(index: Path) -> LorafoldError:
    what = "a diffusers pipeline" if index.name == "model_index.json" else "a model in shards"
    return LorafoldError(f"{what} ({index.name}), not an adapter", path=index.parent, remedy=_ADAPTER)


def nested(folder: Path) -> LorafoldError | None:
    """The refusal of a folder whose subfolders hold adapters."""
    marks = ("*/adapter_model.safetensors", "snapshots/*/*.safetensors", "*/*.safetensors")
    holders = next(
        (folders for mark in marks if (folders := sorted({file.parent for file in folder.glob(mark)}))), None
    )
    if not holders:
        return None
    names = ", ".join(str(holder.relative_to(folder)) for holder in holders[:5]) + (", ..." if len(holders) > 5 else "")
    count = "a subfolder does" if len(holders) == 1 else f"{len(holders)} subfolders do"
    remedy = f"Name {'it' if len(holders) == 1 else 'one of them'}: {names}."
    return LorafoldError(f"the folder itself holds no adapter, but {count}", path=folder, remedy=remedy)


def by_hand(repository: str, file: str | None, revision: str | None = None) -> str:
    """What fetches it from the Hugging Face hub into a folder here."""
    folder = repository.rpartition("/")[2]
    of = ["--revision", revision] if revision not in (None, "main") else []
    words = ["hf", "download", repository, *filter(None, [file]), *of, "--local-dir", folder]
    return f"{command_line(words) or ' '.join(words)}; then name {'/'.join(filter(None, [folder, file]))}"


_REPOSITORY = re.compile(r"(?:hf:(?://)?)?(\w[\w.-]*/\w[\w.-]*)(?<!\.safetensors)")
_HUB = re.compile(
    r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)(?:/(?:resolve|blob)/([^/]+)/([^?#]+))?"
)


def remote(name: str) -> LorafoldError | None:
    """The refusal of an address, or of what looks like a repository of the Hugging Face hub, with what fetches it."""
    hub, repository = _HUB.match(name), _REPOSITORY.fullmatch(name)
    if hub or repository:
        identity = hub[1] if hub else repository[1]  # type: ignore[index]
        fetch = by_hand(identity, *((hub[3], hub[2]) if hub else (None,)))
        return LorafoldError(
            "no such file or folder here", path=name, remedy=f"If it is on the Hugging Face hub: {fetch}."
        )
    if re.match(r"\w+:/", name) and not re.match(r"[A-Za-z]:/", name):
        return LorafoldError(
            "an address, and lorafold downloads nothing", path=name, remedy="Download it, and name the file."
        )
    return None
