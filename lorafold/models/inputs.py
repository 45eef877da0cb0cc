"""A few inputs of an adapter's task, without labels: texts, prompts, conversations or token ids, from a file.

    a.txt             a text or prompt a line; empty lines do not count
    a.jsonl           a JSON object a line, with "text", "prompt", or "messages" for the model's chat template
    a.safetensors     input_ids (B, L), and attention_mask (B, L) where inputs are padded

B = inputs of a batch, L = their tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lorafold.adapters.files.tensor_file import open_tensors
from lorafold.common.errors import LorafoldError
from lorafold.common.text import brief

Conversation = list[Mapping[str, Any]]
_JSONL = (".jsonl", ".ndjson")
_TENSORS = ".safetensors"
# Suffixes of what is certainly no text.
_OTHERS = (".json", ".csv", ".tsv", ".parquet", ".arrow", ".npz", ".npy", ".pt", ".bin", ".pkl", ".zip", ".gz", ".pdf")
_KEYS = ("text", "prompt", "messages")
_EXPECTED = "Give lines of text, JSONL with text, prompt or messages, or safetensors with input_ids."


@dataclass(frozen=True)
class Corpus:
    """Inputs: texts, conversations, or token ids (L,) without padding."""

    items: tuple[str | Conversation | Tensor, ...]
    path: Path | None = None

    __repr__ = brief

    @property
    def count(self) -> int:
        """How many inputs there are."""
        return len(self.items)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the inputs in any order: tells whether two adapters have been given the same."""
        return hashlib.sha256("".join(sorted(map(_digest, self.items))).encode()).hexdigest()

    def prompts(self, size: int) -> Iterator[list[str]]:
        """Lists of so many texts, for a pipeline.

        Raises:
            LorafoldError: inputs that are no plain texts.
        """
        for start in range(0, self.count, size):
            items = self.items[start : start + size]
            if not all(isinstance(item, str) for item in items):
                raise LorafoldError(
                    "token ids or messages, but a pipeline takes prompts",
                    path=self.path,
                    remedy="Give a prompt a line.",
                )
            yield [item for item in items if isinstance(item, str)]

    def batches(
        self, tokenizer: Any, size: int, device: torch.device | str = "cpu", max_tokens: int = 512
    ) -> Iterator[dict[str, Tensor]]:
        """`input_ids` and `attention_mask`, padded to the right; inputs of one length come together.

        Args:
            tokenizer: of transformers; None where the inputs are token ids.
            size: inputs of a batch.
            device: of the tensors.
            max_tokens: longer inputs are cut.

        Raises:
            LorafoldError: texts without a tokenizer, or messages without a chat template.
        """
        ids = sorted((self._ids(item, tokenizer)[:max_tokens] for item in self.items), key=len)
        for start in range(0, len(ids), size):
            rows = [row for row in ids[start : start + size] if len(row)]
            if rows:
                padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=_padding(tokenizer))
                lengths = torch.tensor([len(row) for row in rows])
                mask = (torch.arange(padded.shape[1]) < lengths[:, None]).long()
                yield {"input_ids": padded.to(device), "attention_mask": mask.to(device)}

    def _ids(self, item: str | Conversation | Tensor, tokenizer: Any) -> Tensor:
        if isinstance(item, Tensor):
            return item
        if tokenizer is None:
            raise LorafoldError(
                "text, but the model's folder has no tokenizer",
                path=self.path,
                remedy="Put the tokenizer's files beside the model, or give safetensors with input_ids.",
            )
        if isinstance(item, str):
            return torch.tensor(tokenizer(item)["input_ids"], dtype=torch.long)
        try:
            text = tokenizer.apply_chat_template(item, tokenize=False)
        except Exception as error:  # of a template, which is a program of its own
            raise LorafoldError(
                f"messages that the model's chat template does not take ({error})",
                path=self.path,
                remedy='Give the text as it goes into the model: {"text": ...}.',
            ) from error
        return torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"], dtype=torch.long)


def read_inputs(path: str | Path) -> Corpus:
    """The inputs in a file, by its suffix.

    Raises:
        LorafoldError: no such file, one of another kind, or one without inputs.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise LorafoldError(f"{what}, expected a file of inputs", path=path, remedy=_EXPECTED)
    suffix = path.suffix.lower()
    if suffix in _OTHERS:
        raise LorafoldError(f"a {suffix} file", path=path, remedy=_EXPECTED)
    items = _token_ids(path) if suffix == _TENSORS else _lines(path, suffix in _JSONL)
    if not items:
        raise LorafoldError("no inputs in it", path=path, remedy=_EXPECTED)
    return Corpus(tuple(items), path)


def _lines(path: Path, as_json: bool) -> Sequence[str | Conversation]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise LorafoldError(f"not UTF-8 text ({error.reason} at {error.start})", path=path, remedy=_EXPECTED) from error
    except OSError as error:
        raise LorafoldError(f"cannot be read ({error.strerror})", path=path, remedy="Check its permissions.") from error
    numbered = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    return [_parsed(path, number, line) if as_json else line for number, line in numbered]


def _parsed(path: Path, number: int, line: str) -> str | Conversation:
    """One of `_KEYS` of a JSON object."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise LorafoldError(
            f"line {number} is not JSON ({error})", path=path, remedy="Write a JSON object a line."
        ) from error
    found = [key for key in _KEYS if isinstance(entry, dict) and entry.get(key)]
    value = entry[found[0]] if len(found) == 1 else None
    if isinstance(value, str) and found != ["messages"]:
        return value
    if found == ["messages"] and isinstance(value, list) and all(isinstance(each, dict) for each in value):
        return value
    raise LorafoldError(
        f"line {number} has {' and '.join(found) or 'none of text, prompt and messages'}, expected one of them",
        path=path,
        remedy='For example {"text": "..."}, or {"messages": [{"role": "user", "content": "..."}]}.',
    )


def _token_ids(path: Path) -> list[Tensor]:
    """The rows of input_ids without what the mask leaves out."""
    tensors = open_tensors(path).tensors
    ids = tensors.get("input_ids")
    if ids is None or ids.ndim != 2 or ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise LorafoldError(
            "input_ids missing"
            if ids is None
            else f"{ids.dtype} of shape {tuple(ids.shape)}, expected integers (B, L)",
            path=path,
            key="input_ids",
            remedy="Save the token ids of the inputs, and attention_mask where they are padded.",
        )
    mask = tensors.get("attention_mask", torch.ones_like(ids, dtype=torch.long))
    if mask.shape != ids.shape or not bool(((mask == 0) | (mask == 1)).all()):
        raise LorafoldError(
            f"shape {tuple(mask.shape)}, expected 0 and 1 in the shape of input_ids {tuple(ids.shape)}",
            path=path,
            key="attention_mask",
            remedy="1 for tokens, 0 for padding.",
        )
    rows = [row[keep.bool()].long() for row, keep in zip(ids, mask, strict=True)]
    return [row for row in rows if len(row)]


def _digest(item: str | Conversation | Tensor) -> str:
    if isinstance(item, Tensor):
        return hashlib.sha256(item.long().contiguous().numpy().tobytes()).hexdigest()
    text = item if isinstance(item, str) else json.dumps(item, sort_keys=True)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _padding(tokenizer: Any) -> int:
    return getattr(tokenizer, "pad_token_id", None) or 0
