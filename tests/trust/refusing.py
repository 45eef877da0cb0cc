"""A merge that is refused, and leaves nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import lorafold
from lorafold.common.errors import LorafoldError


def refusal(path: Path, **options: Any) -> LorafoldError:
    """Of a merge; nothing appears beside the input."""
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(LorafoldError) as caught:
        result = lorafold.merge([path], rank=2, **options)
        lorafold.save(result.adapter, path.parent / "out.safetensors")
    assert sorted(path.parent.rglob("*")) == before
    assert str(caught.value).isprintable() and len(str(caught.value)) < 2000
    return caught.value
