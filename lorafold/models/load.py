"""A base model from its folder: of transformers, or a pipeline of diffusers. From this machine alone, and no pickles.

transformers and diffusers are imported when a model is loaded.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lorafold.adapters.files.foreign import remote
from lorafold.adapters.files.model_files import as_given
from lorafold.common.errors import LorafoldError
from lorafold.models.inputs import Corpus
from lorafold.models.quiet import quiet

_log = logging.getLogger(__name__)

_CONFIG, _PIPELINE = "config.json", "model_index.json"
_LOCAL = {"local_files_only": True, "use_safetensors": True}
_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.txt", "vocab.json")
_DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to run.

    Args:
        model: a torch module of transformers, or a pipeline of diffusers.
        tokenizer: of a model of transformers, if its folder has one.
    """

    model: Any
    tokenizer: Any = None

    @property
    def is_pipeline(self) -> bool:
        """Whether it takes prompts."""
        return not isinstance(self.model, torch.nn.Module)

    def batches(self, corpus: Corpus, size: int, max_tokens: int) -> Iterator[dict[str, Tensor]]:
        """Inputs as a model of transformers takes them, cut where its positions end.

        Raises:
            LorafoldError: see `Corpus.batches`; or a token that the model does not know.
        """
        words = self.model.get_input_embeddings().num_embeddings
        positions = getattr(self.model.config, "max_position_embeddings", None) or max_tokens
        known = min(getattr(self.tokenizer, "model_max_length", positions), positions, max_tokens)
        for batch in corpus.batches(self.tokenizer, size, self.model.device, known):
            ids = batch["input_ids"]
            if bool(((ids < 0) | (ids >= words)).any()):
                raise LorafoldError(
                    f"token {int(ids.max() if ids.max() >= words else ids.min())}, but the model knows {words}",
                    path=corpus.path,
                    key="input_ids",
                    remedy="Give token ids of this model's own tokenizer.",
                )
            yield batch


def check_model(path: str | Path | None, dtype: str = "auto") -> Path:
    """The folder of a model, as far as can be told without loading it.

    Raises:
        LorafoldError: none, not there, not a model's, only pickles in it, or an unknown dtype.
    """
    if dtype not in _DTYPES:
        raise LorafoldError(f"dtype={dtype!r} is unknown", remedy=f"Choose one of {', '.join(_DTYPES)}.")
    if path is None or not str(path).strip():
        raise LorafoldError(
            f"base={path}, expected the model that the adapters were trained on",
            remedy="Name its folder: base=MODEL, of transformers or of diffusers.",
        )
    folder = Path(path).expanduser()
    if not folder.exists():
        raise remote(as_given(folder)) or LorafoldError("no such folder", path=folder, remedy="Check base=.")
    if not (folder / _CONFIG).is_file() and not (folder / _PIPELINE).is_file():
        what = f"neither {_CONFIG} nor {_PIPELINE} in it" if folder.is_dir() else "a file"
        raise LorafoldError(
            f"{what}, expected the folder of a model",
            path=folder,
            remedy="Give a folder as transformers or diffusers save it; a checkpoint in one file has to be converted.",
        )
    if next(folder.rglob("*.safetensors"), None) is None:
        raise LorafoldError(
            "no safetensors in it", path=folder, remedy="lorafold reads no pickles: save the model as safetensors."
        )
    return folder


def load_model(path: str | Path, device: torch.device | str = "cpu", dtype: str = "auto") -> LoadedModel:
    """The model in a folder, in evaluation mode; nothing is downloaded, no code of the folder is run.

    Args:
        path: of transformers (the class that its configuration names) or of a pipeline of diffusers.
        device: where it runs.
        dtype: float32, bfloat16, float16; auto: float32 on the CPU, else that of the files (bfloat16 of a pipeline).

    Raises:
        LorafoldError: see `check_model`; a package that is missing, or a folder that it cannot load.
    """
    folder = check_model(path, dtype)
    library, load = ("diffusers", _pipeline) if (folder / _PIPELINE).is_file() else ("transformers", _transformers)
    with _mistakes(folder), quiet(library):
        loaded, missing = load(folder, torch.device(device), dtype)
    if missing:
        _log.warning(
            "%s: %s: %d weights of the model are not in its files, and random.", folder, missing[0], len(missing)
        )
    return loaded


def _transformers(folder: Path, device: torch.device, dtype: str) -> tuple[LoadedModel, list[str]]:
    """The model, and the names of weights that its files lack."""
    transformers: Any = import_module("transformers")
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if getattr(config, "is_encoder_decoder", False):
        raise LorafoldError(
            f"an encoder with a decoder ({config.model_type}), which takes pairs of texts",
            path=folder,
            remedy="From Python, lorafold.collect takes batches of any kind.",
        )
    chosen = "float32" if dtype == "auto" and device.type == "cpu" else dtype
    kind = _class_of(config, transformers)
    model, info = kind.from_pretrained(
        folder, dtype=chosen, output_loading_info=True, trust_remote_code=False, **_LOCAL
    )
    return LoadedModel(model.to(device).eval(), _tokenizer(folder, transformers)), sorted(info["missing_keys"])


def _class_of(config: Any, transformers: Any) -> Any:
    """What the configuration names, if it is a model of transformers."""
    names = getattr(config, "architectures", None) or [""]
    kind = getattr(transformers, names[0], None)
    is_model = isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)
    return kind if is_model else transformers.AutoModel


def _tokenizer(folder: Path, transformers: Any) -> Any:
    """None where the folder has none."""
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        return None
    return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _pipeline(folder: Path, device: torch.device, dtype: str) -> tuple[LoadedModel, list[str]]:
    diffusers: Any = import_module("diffusers")
    # A safety checker looks at images, of which there will be none.
    parts = json.loads((folder / _PIPELINE).read_text(encoding="utf-8"))
    without = {"safety_checker": None} if "safety_checker" in parts else {}
    auto = torch.float32 if device.type == "cpu" else torch.bfloat16
    chosen = auto if dtype == "auto" else getattr(torch, dtype)
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, torch_dtype=chosen, **without, **_LOCAL)
    return LoadedModel(pipeline.to(device)), []


@contextmanager
def _mistakes(folder: Path) -> Iterator[None]:
    """What the libraries raise, in one line."""
    try:
        yield
    except LorafoldError:
        raise
    except ImportError as error:
        raise LorafoldError(
            f"{error.name or error} is missing, which this model needs",
            path=folder,
            remedy="pip install 'lorafold[models]'.",
        ) from error
    except Exception as error:  # of any kind: they are other people's, and what they read is the user's
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise LorafoldError(
            f"cannot be loaded ({lines[0]})", path=folder, remedy="Save it again with save_pretrained, as safetensors."
        ) from error
