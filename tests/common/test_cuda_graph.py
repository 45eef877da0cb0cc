"""What is recorded does again what was done, on the tensors of each call."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import Tensor

from lorafold.common.cuda_graph import Replayed


@dataclass(frozen=True)
class Pair:
    first: Tensor
    second: Tensor
    name: str = "kept"


class Recorder:
    """Stands for a GPU's graph: the work on the tensors that it was recorded with, whatever is given later."""

    def __init__(self, fails=False):
        self.recorded = self.replayed = 0
        self._fails = fails

    def __call__(self, once):
        if self._fails:
            raise RuntimeError("operation not permitted when stream is capturing")
        self.recorded += 1

        def replay():
            self.replayed += 1
            once()

        return replay


def sums(pair, number):
    return Pair(pair.first + number, pair.second * number)


def pair(*values):
    return Pair(torch.tensor([values[0]]), torch.tensor([values[1]]))


def values(result):
    return [float(result.first[0]), float(result.second[0])]


def test_each_call_is_of_its_own_tensors():
    recorder = Recorder()
    work = Replayed(sums, record=recorder)
    given = pair(1.0, 2.0)
    for number in (1.0, 2.0, 3.0):
        assert values(work(given, torch.tensor([number]))) == [1 + number, 2 * number]
    assert values(work(pair(5.0, 6.0), torch.tensor([10.0]))) == [15.0, 60.0]
    assert values(given) == [1.0, 2.0]
    assert (recorder.recorded, recorder.replayed) == (1, 3)


def test_new_shapes_are_recorded_anew():
    recorder = Recorder()
    work = Replayed(torch.neg, record=recorder)
    for count in (3, 3, 3, 2, 2, 3, 3):
        assert torch.equal(work(torch.ones(count)), -torch.ones(count))
    assert (recorder.recorded, recorder.replayed) == (3, 6)


def test_what_is_returned_is_the_next_argument():
    work = Replayed(lambda step, state: sums(state, step), feeds=1, record=Recorder())
    step, state = torch.tensor([2.0]), pair(0.0, 1.0)
    for turn in range(1, 6):
        state = work(step, state)
        assert values(state) == [2.0 * turn, 2.0**turn]
    assert values(work(step, pair(0.0, 1.0))) == [2.0, 2.0]
    assert values(work(torch.tensor([3.0]), pair(0.0, 1.0))) == [3.0, 3.0]


def test_what_cannot_be_recorded_is_done_as_it_is():
    work = Replayed(torch.neg, record=Recorder(fails=True))
    assert [float(work(torch.tensor(x))) for x in (1.0, 2.0, 3.0)] == [-1.0, -2.0, -3.0]


@pytest.mark.parametrize("make", [partial(Replayed, wanted=False, record=Recorder()), Replayed])
def test_nothing_is_recorded_unasked_or_on_a_cpu(make):
    seen = []
    work = make(lambda x: seen.append(x) or x)
    given = [torch.tensor(float(i)) for i in range(4)]
    assert all(work(one) is one for one in given) and len(seen) == 4


@pytest.mark.cuda
def test_on_a_gpu():
    work = Replayed(lambda step, state: sums(state, step), feeds=1)
    step, state = torch.tensor([2.0]).cuda(), Pair(torch.zeros(1).cuda(), torch.ones(1).cuda())
    for turn in range(1, 6):
        state = work(step, state)
        assert values(state) == [2.0 * turn, 2.0**turn]
