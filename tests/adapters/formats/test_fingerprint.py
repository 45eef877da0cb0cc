"""An adapter's fingerprint is the SHA-256 of its files' bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from lorafold.adapters.formats.fingerprint import fingerprint
from lorafold.common.errors import LorafoldError
from tests.adapters.samples import kohya_file, kohya_pair, peft_folder, peft_pair


def sha256(*files: Path) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def test_of_a_file_it_is_what_sha256sum_prints(tmp_path: Path) -> None:
    file = kohya_file(tmp_path / "a.safetensors", kohya_pair())
    (tmp_path / "adapter_config.json").write_text("{}")  # not part of a kohya adapter
    assert fingerprint(file) == fingerprint(str(tmp_path)) == sha256(file)


def test_of_a_peft_adapter_the_configuration_counts(tmp_path: Path) -> None:
    folder = peft_folder(tmp_path / "a", peft_pair())
    config, tensors = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    assert fingerprint(folder) == fingerprint(tensors) == sha256(config, tensors)
    before = fingerprint(folder)
    peft_folder(folder, peft_pair(), lora_alpha=4)
    assert fingerprint(folder) != before


def test_of_nothing_it_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LorafoldError, match="no such file"):
        fingerprint(tmp_path / "a.safetensors")
