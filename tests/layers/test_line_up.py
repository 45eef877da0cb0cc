"""Which layers are solved together."""

from __future__ import annotations

import pytest
import torch

import lorafold
from lorafold.adapters import Adapter, Module
from lorafold.layers.buckets import buckets, split_buckets
from tests.builders import Source, random_layer
from tests.builders import one_thread as one_thread


def mixed_layers(count: int = 120):
    source, draw = Source(0), torch.Generator().manual_seed(0)
    ranks = torch.randint(1, 65, (count, 2), generator=draw).tolist()
    return [random_layer(source, 70, 66, pair) for pair in ranks]


def test_every_layer_is_in_one_bucket_whose_slots_hold_it():
    layers = mixed_layers()
    for rank in (None, 1, 16, 200):
        found = buckets(layers, rank)
        assert sorted(position for bucket in found for position in bucket.positions) == list(range(len(layers)))
        for bucket in found:
            ranks = [layer.ranks for layer in bucket.select(layers)]
            assert all(own <= slot for row in ranks for own, slot in zip(row, bucket.slots, strict=True))


def test_mixed_ranks_make_few_batches():
    layers = mixed_layers()
    assert len(split_buckets(layers, 32)) > 100
    assert len(split_buckets(layers, 32, 1)) <= 64


def test_layers_of_lower_joint_rank_keep_their_own_slots():
    """A rule for entries would see another shape otherwise."""
    layers = mixed_layers()
    for bucket in buckets(layers, 60):
        assert all(sum(layer.ranks) >= 60 or layer.ranks == bucket.slots for layer in bucket.select(layers))


def test_a_common_layout_stays_exact():
    layers = [random_layer(Source(i), 30, 30, (3, 5)) for i in range(20)]
    assert [bucket.slots for bucket in buckets(layers, 4)] == [(3, 5)]


@pytest.mark.slow
def test_padding_changes_nothing():
    """A merge of layers of mixed ranks is that of each layer alone."""
    source, draw = Source(1), torch.Generator().manual_seed(1)
    ranks = torch.randint(1, 12, (12, 2), generator=draw).tolist()
    adapters = [
        Adapter(
            "kohya",
            {
                f"m{i}": Module(f"m{i}", source.normal(30, own[side]), source.normal(own[side], 26), 0.5)
                for i, own in enumerate(ranks)
            },
        )
        for side in (0, 1)
    ]
    settings = {"weights": [0.7, -0.4], "rank": 4, "solver": {"name": "riemannian_adam", "tol": 1e-9}}
    for core in ("sum", "ties", "tsv"):
        together = lorafold.merge(adapters, core=core, **settings).adapter
        for name, module in together.modules.items():
            one = [Adapter("kohya", {name: adapter.modules[name]}) for adapter in adapters]
            alone = lorafold.merge(one, core=core, **settings).adapter.modules[name]
            torch.testing.assert_close(module.up @ module.down, alone.up @ alone.down, rtol=0, atol=1e-5)


def test_a_gpu_takes_as_many_layers_at_a_time_as_it_has_room_for(monkeypatch):
    gpu, layers = torch.device("cuda"), [random_layer(Source(seed), 8, 8, [2, 2], [1.0, 1.0]) for seed in range(20)]
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3000)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 1000)
    for free, counts in ((10**9, [20]), (198_000, [5] * 4), (0, [1] * 20)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10**9))
        assert [len(bucket.positions) for bucket in split_buckets(layers, 3, device=gpu)] == counts
