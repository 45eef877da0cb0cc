"""The loss against its definition, and its gradient through the model against finite differences."""

from __future__ import annotations

import pytest
import torch

from lorafold.models.attach import attached, attached_factors
from lorafold.models.layers import layers_of
from lorafold.pipelines.distill.features import Features, collected, targets_of
from lorafold.pipelines.distill.hidden_states import HiddenStates, unpadded
from lorafold.pipelines.distill.loss import Task
from lorafold.pipelines.distill.schedule import batch_of, held_back, rate
from lorafold.pipelines.distill.student import student_of
from lorafold.pipelines.distill.subspaces import SubspaceDistance
from tests.builders import Source
from tests.builders import one_thread as one_thread
from tests.pipelines.distill.distill_cases import MODELS, adapters, inputs

CPU = torch.device("cpu")


def task_of(model, adapter, layers="last", seed=0, skip_first=False):
    probe = HiddenStates(model, [each for batch in inputs(seed) for each in unpadded(batch)], layers, None, skip_first)
    without = collected(probe, 6)
    with attached(model, adapter):
        targets = targets_of(collected(probe, 6), without)
    return Task(probe, targets, *held_back(probe.count, 0.2, 0))


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("layers", ["last", "all", "pooled"])
def test_its_gradient_is_that_of_finite_differences(kind, layers):
    """Of the whole: two tasks' losses and the subspace term, along tangent vectors of U, S and V at once."""
    build, shapes = MODELS[kind]
    model = build().double().eval()
    model.requires_grad_(False)
    given = adapters(shapes)
    student = student_of(given[0], "stiefel", CPU)
    for own in student.parameters().values():
        for parameter in own:
            parameter.data = parameter.data.double()
    tasks = [task_of(model, adapter, layers, seed) for seed, adapter in enumerate(given)]
    regulariser, source = SubspaceDistance(student.groups, given, "chordal"), Source(3)
    parameters = student.parameters()

    def loss():
        current = student.factors()
        with attached_factors(layers_of(model, given[0]), current.__getitem__):
            return sum(task.loss([0, 3, 5]) for task in tasks) / 2 + 0.3 * regulariser()

    for frame in parameters["subspaces"]:
        frame.data = torch.linalg.qr(frame.data + 0.2 * source.normal(*frame.shape))[0]
    loss().backward()
    steps = [_tangent(p.detach(), source.normal(*p.shape)) for p in parameters["subspaces"]]
    steps += [0.1 * source.normal(*p.shape) for p in parameters["cores"]]
    every = [*parameters["subspaces"], *parameters["cores"]]
    expected = sum(float((p.grad * step).sum()) for p, step in zip(every, steps, strict=True))
    h, tolerance = (1e-5, 1e-6) if kind == "bert" else (1e-3, 2e-3)  # a Llama's norms are float32 whatever it is
    base, ends = [p.data for p in every], []
    for sign in (1, -1):
        for p, point, step in zip(every, base, steps, strict=True):
            p.data = point + sign * h * step
        for p in parameters["subspaces"]:
            p.data = torch.linalg.qr(p.data)[0]
            p.data = p.data * (p.data * base[every_index(every, p)]).sum(-2, keepdim=True).sign()
        ends.append(float(loss().detach()))
    assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(expected, rel=tolerance)


def every_index(every, parameter):
    return next(i for i, each in enumerate(every) if each is parameter)


def _tangent(frame, step):
    return step - frame @ (frame.mT @ step)


@pytest.mark.parametrize("skip_first", [False, True])
def test_it_is_one_without_adapters_and_zero_with_its_own(skip_first):
    build, shapes = MODELS["llama"]
    model = build().eval().requires_grad_(False)
    adapter = adapters(shapes)[0]
    task = task_of(model, adapter, skip_first=skip_first)
    assert float(task.loss(task.seen)) == pytest.approx(1, rel=1e-5)
    assert task.held_back_loss(3) == pytest.approx(1, rel=1e-5)
    with attached(model, adapter):
        assert float(task.loss(task.seen)) < 1e-9 and task.held_back_loss(3) < 1e-9
    tokens = int(task.targets.tokens.sum())
    assert tokens == sum(len(each["input_ids"]) - skip_first for batch in inputs(0) for each in unpadded(batch))


def test_it_is_its_definition():
    """Two inputs of three and one tokens, one layer."""
    h = [torch.tensor([[1.0, 2.0], [0.0, 1.0], [3.0, 0.0]]), torch.tensor([[2.0, 2.0]])]
    base = [torch.zeros(3, 2), torch.zeros(1, 2)]
    targets = targets_of([(each,) for each in h], [(each,) for each in base])
    features = Features((torch.ones(2, 3, 2),), torch.tensor([[1, 1, 1], [1, 0, 0]]))
    assert targets.squared_error(features, [0, 1]).tolist() == [0 + 1 + 1 + 0 + 4 + 1 + 1 + 1]
    assert targets.scale([0, 1]).tolist() == [(5 + 1 + 9 + 8) / 4]


def test_the_rate_rises_and_falls():
    rates = [rate(step, 60) for step in range(60)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0]) and rates[5] == 1
    assert rates[5:] == sorted(rates[5:], reverse=True) and 0.05 < rates[-1] < 0.06


def test_every_input_is_seen_once_per_round():
    seen, held = held_back(30, 0.1, 7)
    assert len(held) == 3 and sorted(seen + held) == list(range(30))
    batches = [batch_of(step, 8, seen, 7) for step in range(27)]
    flat = [i for batch in batches for i in batch]
    for start in range(0, len(flat), 27):
        assert sorted(flat[start : start + 27]) == seen
    assert batches != [batch_of(step, 8, seen, 8) for step in range(27)]
