"""Other pairs of adapters as the null: the same layer of a pair beside that of a panel, for a batch of modules.

s = side (0 left, 1 right), b = modules, F = adapters of a family (the pair and the panel), R = core dimension, q = the
smallest of their numerical ranks in a module.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor
from torch.nn.functional import pad

from lorafold.pipelines.compare.overlap import SingularFrames


def family_phi(family: Sequence[SingularFrames]) -> tuple[Tensor, Tensor]:
    """φ of all pairs of a family, the first two first, of their q leading directions on either side.

    Ranks differ, and φ with them: of equally many directions, each adapter's strongest, it is of one kind. An adapter
    whose update is zero or missing takes no part.

    Returns: ((F (F - 1) / 2, s, b) with NaN for pairs that lack the module, q (b,)), q = 0 if the first two do.
    """
    dims = torch.stack([adapter.dims for adapter in family])  # (F, b)
    present = dims > 0
    smallest = torch.where(present, dims, dims.max()).amin(0)
    q = torch.where(present[0] & present[1], smallest, 0)
    frames = torch.stack([_leading(adapter.frames, q) for adapter in family], 2)  # (s, b, F, R, w)
    joint = frames.transpose(2, 3).flatten(3)
    products = (joint.mT @ joint).reshape(*joint.shape[:2], *2 * (len(family), frames.shape[-1]))
    squares = products.square().sum((3, 5))  # (s, b, F, F)
    pairs = list(combinations(range(len(family)), 2))
    first, second = (torch.tensor(members, device=q.device) for members in zip(*pairs, strict=True))
    phi = (squares[..., first, second] / q.clamp_min(1)[:, None]).clamp_max(1)
    compared = present[first] & present[second] & (q > 0)  # (pairs, b)
    return torch.where(compared[:, None], phi.permute(2, 0, 1), torch.nan), q


def _leading(frames: Tensor, q: Tensor) -> Tensor:
    """The first q columns of every module, zeros after them.  (s, b, R, max q)"""
    width = max(1, int(q.max()))
    cut = pad(frames[..., :width], (0, max(0, width - frames.shape[-1])))
    return cut * (torch.arange(width, device=q.device) < q[:, None, None])
