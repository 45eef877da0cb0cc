"""Folders of models in miniature, as transformers and diffusers save them: weights, configurations, tokenizers."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.clients.peft_models import base_model, peft_model, saved
from tests.clients.pipelines import pipeline

diffusers = pytest.importorskip("diffusers")
tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")

WORDS = "a b c d"  # what the tokenizers know


def model_folder(kind: str, folder: Path) -> Path:
    """A model of `peft_models` with a tokenizer of words."""
    names = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", *WORDS.split()])}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(names, unk_token="[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words.post_processor = tokenizers.processors.TemplateProcessing("[CLS] $A", special_tokens=[("[CLS]", 2)])
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base_model(kind).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def adapter_folders(kind: str, folder: Path) -> list[Path]:
    """Two adapters of that model, as PEFT saves them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return saved(peft_model(kind), folder)


def pipeline_folder(architecture: str, folder: Path) -> Path:
    """A pipeline of `pipelines`, complete: sd, sdxl or flux."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipe = pipeline(architecture)
        channels = 1 if architecture == "flux" else 4
        vae = diffusers.AutoencoderKL(block_out_channels=(4,), latent_channels=channels, norm_num_groups=2)
        second = {"sd": {}, "sdxl": {"tokenizer_2": _clip_tokenizer()}, "flux": _t5()}[architecture]
        pipe.register_modules(vae=vae, tokenizer=_clip_tokenizer(), **second)
        pipe.save_pretrained(folder)
    return folder


def _clip_tokenizer() -> Any:
    letters = WORDS.split()
    words = ["<|startoftext|>", "<|endoftext|>", *(f"{letter}</w>" for letter in letters), *letters]
    vocab = {word: number for number, word in enumerate(words)}
    return transformers.CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77)


def _t5() -> dict[str, Any]:
    """The second text encoder of Flux, and its tokenizer."""
    torch.manual_seed(0)
    config = transformers.T5Config(vocab_size=9, d_model=12, d_kv=6, d_ff=16, num_layers=1, num_heads=2)
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((letter, -3.0) for letter in WORDS.split())]
    tokenizer = transformers.T5Tokenizer(vocab=vocab, extra_ids=0)
    return {"text_encoder_2": transformers.T5EncoderModel(config), "tokenizer_2": tokenizer}
