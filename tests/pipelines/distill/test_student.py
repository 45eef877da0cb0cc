"""The student: its factors, how it stays on its manifold, and its gradients against finite differences."""

from __future__ import annotations

import pytest
import torch

from lorafold.objectives import DISTANCES
from lorafold.pipelines.distill.schedule import rate
from lorafold.pipelines.distill.student import PARAMETRISATIONS, Orthonormal, student_of
from lorafold.pipelines.distill.subspaces import SubspaceDistance
from lorafold.pipelines.distill.train import Lesson
from tests.builders import Source, random_adapter
from tests.builders import one_thread as one_thread
from tests.oracles import relative, update
from tests.pipelines.distill.distill_cases import adapters

CPU = torch.device("cpu")
SHAPES = {"a": (12, 9), "b": (12, 9), "c": (7, 20)}


@pytest.mark.parametrize("parametrisation", PARAMETRISATIONS)
def test_it_begins_as_the_start_and_is_written_as_it_is(parametrisation):
    """Also where a file has more columns than the layer outputs."""
    start = random_adapter("kohya", SHAPES, {"a": 3, "b": 3, "c": 8}, scale=-0.7)
    student = student_of(start, parametrisation, CPU)
    written = student.adapter()
    assert [*written.modules] == [*start.modules]
    for name, (up, down) in student.factors().items():
        assert relative((up @ down).detach().double(), update(start.modules[name])) < 1e-6
        assert relative(update(written.modules[name]), update(start.modules[name])) < 1e-6
        assert written.modules[name].up.norm() == pytest.approx(float(written.modules[name].down.norm()), rel=1e-5)


def test_a_module_of_zero_stays_where_it_is():
    start = random_adapter("kohya", SHAPES, 3, scale=0.0)
    student = student_of(start, "grassmann", CPU)
    assert all(not (up @ down).any() for up, down in student.factors().values())


@pytest.mark.parametrize("parametrisation", [name for name in PARAMETRISATIONS if name != "euclidean"])
def test_frames_stay_orthonormal_and_columns_move_by_the_rate(parametrisation):
    """Whatever the gradients: the worst ones are noise, as large as they like and of all sizes."""
    student = student_of(random_adapter("kohya", SHAPES, 3), parametrisation, CPU)
    lesson, source = Lesson(student, {"subspaces": 0.05, "cores": 0.01}), Source(1)
    before = [group.left.detach().clone() for group in student.groups if isinstance(group, Orthonormal)]
    for step in range(100):
        for own in student.parameters().values():
            for parameter in own:
                sizes = torch.tensor([1.0, 1e3, 1e-3])[: parameter.shape[-1]]
                parameter.grad = (source.normal(*parameter.shape) * sizes).float()
        lesson.optimizer.step()
        frames = [frame.detach() for group in student.groups for frame in (group.left, group.right)]
        for frame in frames:
            torch.testing.assert_close(frame.mT @ frame, torch.eye(3).expand(len(frame), 3, 3), atol=1e-5, rtol=0)
        if step == 0 and parametrisation != "stiefel":  # there a part turns the frame within its span
            moved = [
                ((group.left.detach() - frame) - frame @ (frame.mT @ (group.left.detach() - frame))).norm(dim=-2)
                for group, frame in zip(student.groups, before, strict=True)
            ]
            # The first step of Adam is as long as the rate, whatever the gradient of the column.
            torch.testing.assert_close(torch.cat(moved), torch.full_like(torch.cat(moved), 0.05), rtol=0.03, atol=0)


@pytest.mark.parametrize("name", ["phi", "chordal", "geodesic", "procrustes"])
def test_the_distance_and_its_gradient(name):
    """Zero at an adapter's own subspaces; along a curve as finite differences say."""
    first, second = adapters(rank=3)
    student = student_of(first, "stiefel", CPU)
    assert float(SubspaceDistance(student.groups, [first], name)().detach()) == pytest.approx(0, abs=1e-5)
    for own in student.parameters().values():
        for parameter in own:
            parameter.data = parameter.data.double()
    source, distance = Source(2), SubspaceDistance(student.groups, [first, second], name)
    frames = student.parameters()["subspaces"]
    for frame in frames:  # away from the first, where angles are zero
        frame.data = torch.linalg.qr(frame.data + 0.3 * source.normal(*frame.shape))[0]
    value = distance()
    value.backward()
    assert 0 < float(value.detach()) < 1
    steps = [_tangent(frame.detach(), source.normal(*frame.shape)) for frame in frames]
    expected = sum(float((frame.grad * step).sum()) for frame, step in zip(frames, steps, strict=True))
    base, h = [frame.data for frame in frames], 1e-5
    ends = []
    for sign in (1, -1):
        for frame, point, step in zip(frames, base, steps, strict=True):
            frame.data = torch.linalg.qr(point + sign * h * step)[0]
        ends.append(float(distance().detach()))
    assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(expected, rel=1e-4)
    assert name in DISTANCES


def _tangent(frame, step):
    return step - frame @ (frame.mT @ step)


@pytest.mark.parametrize("parametrisation", PARAMETRISATIONS)
def test_all_parametrisations_find_the_best_approximation(parametrisation):
    """Of a dense matrix by one of rank 2, from a random start: what is left is Σσ² past the second (Eckart & Young)."""
    source = Source(5)
    target = source.conditioned(9, 7, 20.0)
    start = random_adapter("kohya", {"a": (9, 7)}, 2, seed=4, scale=0.3)
    lesson = Lesson(student_of(start, parametrisation, CPU), {"subspaces": 0.1, "cores": 0.05, "factors": 0.05})
    steps = 300
    for step in range(steps):
        for group in lesson.optimizer.param_groups:
            group["lr"] = rate(step, steps) * lesson.rates[group["name"]]
        lesson.optimizer.zero_grad()
        up, down = lesson.student.factors()["a"]
        ((up @ down - target.float()) ** 2).sum().backward()
        lesson.optimizer.step()
    left = (update(lesson.student.adapter().modules["a"]) - target).square().sum()
    assert float(left) == pytest.approx(float(torch.linalg.svdvals(target)[2:].square().sum()), rel=0.01)
