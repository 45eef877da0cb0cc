"""Models from folders: what is loaded, and what is refused before any of it is."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lorafold.common.errors import LorafoldError
from lorafold.models.load import load_model
from tests.builders import one_thread as one_thread
from tests.clients.folders import model_folder
from tests.clients.peft_models import base_model

# What is called in transformers.
pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    return model_folder("bert", tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture
def folder(bert: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(bert, tmp_path / "bert"))


def test_it_is_the_class_that_the_configuration_names_with_the_weights_of_the_folder(bert, capsys):
    loaded, expected = load_model(bert), base_model("bert")
    assert type(loaded.model) is type(expected) and not loaded.model.training and not loaded.is_pipeline
    for name, weight in expected.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], weight)
    assert loaded.tokenizer("a b")["input_ids"] == [2, 3, 4]
    said = capsys.readouterr()
    assert not said.out and not said.err


def test_of_the_dtype_that_is_wanted(bert):
    assert load_model(bert, dtype="bfloat16").model.dtype == torch.bfloat16


def test_weights_that_are_not_there_are_told(folder, caplog):
    """transformers makes them up."""
    path = folder / "model.safetensors"
    weights = {key: value for key, value in load_file(path).items() if "layer.1.attention.self.query" not in key}
    save_file(weights, path, {"format": "pt"})
    load_model(folder)
    assert re.search(r"layer\.1\.attention\.self\.query\.bias: 2 weights .* random", caplog.text)


def test_a_pickle_is_never_read(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(LorafoldError, match=r"no safetensors in it. lorafold reads no pickles"):
        load_model(folder)


@pytest.mark.parametrize("architecture", ["Trainer", "no_such_class"])
def test_a_name_that_is_no_model_is_not_called(folder, architecture):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": [architecture]}))
    assert type(load_model(folder).model).__name__ == "BertModel"


def test_code_of_the_folder_is_not_run(folder):
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nclass Config: pass\n")
    with pytest.raises(LorafoldError, match="cannot be loaded"):
        load_model(folder)
    assert not (folder / "ran").exists()


def test_a_damaged_file_is_told_in_one_line(folder):
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(LorafoldError, match="bert: cannot be loaded") as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_named_with_its_extra(bert, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(LorafoldError, match=r"transformers is missing.*pip install 'lorafold\[models\]'"):
        load_model(bert)
