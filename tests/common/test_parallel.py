"""Large pieces, two at a time: their order, how many are under way, and what is left behind."""

from __future__ import annotations

import threading

import pytest
import torch

from lorafold.common.parallel import cpu_threads, map_ahead

CPU = torch.device("cpu")


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_results_come_in_order_and_few_are_under_way(threads):
    begun, lock = [], threading.Lock()

    def work(piece):
        with lock:
            begun.append(piece)
        return piece, torch.get_num_threads()

    with cpu_threads(threads):
        for taken, (piece, own) in enumerate(map_ahead(work, range(20), CPU)):
            assert piece == taken and len(begun) <= taken + 4
            assert own == max(1, threads // 2)
        assert torch.get_num_threads() == threads


def test_a_failure_ends_all():
    begun = []

    def work(piece):
        begun.append(piece)
        if piece == 3:
            raise KeyError(piece)
        return piece

    with cpu_threads(2):
        with pytest.raises(KeyError):
            list(map_ahead(work, range(50), CPU))
        assert torch.get_num_threads() == 2
    assert len(begun) < 8
