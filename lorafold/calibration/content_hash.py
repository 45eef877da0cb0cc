"""What an adapter says, in one number: the same from a file, from a live model, and after an edit of its metadata."""

from __future__ import annotations

import hashlib

import torch

from lorafold.adapters import Adapter


def content_hash(adapter: Adapter) -> str:
    """SHA-256, in hex, of the adapter's modules in the order of their names: name, scale, dtype, shape and factors.

    Statistics belong to one adapter: they are refused for another.
    """
    digest = hashlib.sha256()
    for name, module in sorted(adapter.modules.items()):
        digest.update(f"{name} {module.scale!r}".encode())
        for factor in (module.up, module.down):
            digest.update(f" {factor.dtype} {tuple(factor.shape)}".encode())
            digest.update(factor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
