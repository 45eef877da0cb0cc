"""What arrives is moved under names of ours, and called as whoever sent it calls it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorafold.commands.ui.uploads import Upload, adapters_of, in_their_names, named
from lorafold.common.errors import LorafoldError
from tests.commands.ui.ui_samples import adapter_files


def sent(folder: Path, *names: str) -> list[Path]:
    """As Gradio leaves files: each in a folder of its own."""
    paths = [folder / str(number) / name for number, name in enumerate(names)]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    return paths


def test_no_name_of_theirs_becomes_a_path(tmp_path):
    files = sent(tmp_path / "sent", "..safetensors", "a\u202eb\n.safetensors", "x.PT", "no suffix", "page.html")
    uploads = adapters_of(files, tmp_path / "kept")
    names = ["adapter.safetensors", "adapter.safetensors", "adapter.pt", "adapter.safetensors", "adapter.safetensors"]
    assert [upload.path.name for upload in uploads] == names
    assert all(upload.path.is_relative_to(tmp_path / "kept") and upload.path.exists() for upload in uploads)
    assert all(upload.name.isprintable() for upload in uploads)
    assert [*(tmp_path / "sent").iterdir()] == []


def test_the_two_files_of_peft_are_one_adapter(tmp_path):
    files = sent(tmp_path / "sent", "adapter_config.json", "anything.safetensors")
    (upload,) = adapters_of(files, tmp_path / "kept")
    assert upload.path == tmp_path / "kept"
    assert {path.name for path in upload.path.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}


@pytest.mark.parametrize("names", [["adapter_config.json"], ["adapter_config.json", "a.safetensors", "b.safetensors"]])
def test_half_an_adapter_of_peft_is_refused(tmp_path, names):
    with pytest.raises(LorafoldError, match=r"Drop the two files of one PEFT adapter together"):
        adapters_of(sent(tmp_path / "sent", *names), tmp_path / "kept")


def test_what_has_not_arrived_is_told(tmp_path):
    with pytest.raises(LorafoldError, match=r"a\.safetensors has not arrived. Drop it again"):
        adapters_of([tmp_path / "a.safetensors"], tmp_path / "kept")


def test_names_are_told_apart():
    uploads = named([], [Upload("a.pt", Path(str(number))) for number in range(3)])
    assert [upload.name for upload in uploads] == ["a.pt", "a (2).pt", "a (3).pt"]


def test_messages_and_adapters_have_the_name_of_the_page(tmp_path):
    (file,) = adapter_files(tmp_path, "adapter")
    upload = Upload("style.safetensors", file)
    assert in_their_names(f"{file}: wrong", [upload]) == "style.safetensors: wrong"
    assert upload.load().path == Path("style.safetensors")
