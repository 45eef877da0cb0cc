"""The steps of distillation: a batch of every adapter's inputs, the gradients, a step of the optimiser."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lorafold.pipelines.distill.loss import Task
from lorafold.pipelines.distill.schedule import batch_of, rate
from lorafold.pipelines.distill.student import Factors, Student

# Of the moving averages of the gradients and of their squares.
BETAS = (0.9, 0.98)


@dataclass
class Lesson:
    """A student with its optimiser, between two steps.

    Args:
        student: what learns.
        rates: learning rate by the name of what learns, see `Group.parameters`.
        step: how many steps were made; `losses`: of each of them, the mean over the adapters.
    """

    student: Student
    rates: dict[str, float]

    def __post_init__(self) -> None:
        # imported here, for it is slow to import
        from geoopt.optim import RiemannianAdam

        own = self.student.parameters()
        groups = [{"params": parameters, "lr": self.rates[name], "name": name} for name, parameters in own.items()]
        self.optimizer: torch.optim.Optimizer = RiemannianAdam(groups, betas=BETAS)
        self.losses: list[float] = []

    @property
    def step(self) -> int:
        """How many steps were made."""
        return len(self.losses)

    def state(self) -> dict[str, Tensor]:
        """All that another process needs to go on: what learns, its moments, and the losses of the steps."""
        tensors = {"losses": torch.tensor(self.losses, dtype=torch.float64)}
        for number, parameter in enumerate(self._learning()):
            tensors[f"{number}.parameter"] = parameter.detach()
            own = self.optimizer.state[parameter]
            tensors |= {f"{number}.{name}": moment for name, moment in own.items() if isinstance(moment, Tensor)}
        return tensors

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        self.losses = state["losses"].tolist()
        for number, parameter in enumerate(self._learning()):
            own = {name.partition(".")[2]: value for name, value in state.items() if name.startswith(f"{number}.")}
            parameter.copy_(own.pop("parameter"))
            moments = {name: moment.to(parameter.device) for name, moment in own.items()}
            self.optimizer.state[parameter] = {"step": self.step, **moments}

    def _learning(self) -> Iterator[nn.Parameter]:
        return (parameter for own in self.student.parameters().values() for parameter in own)


def teach(
    lesson: Lesson,
    tasks: Sequence[Task],
    *,
    steps: int,
    size: int,
    seed: int,
    show: Callable[[Factors], None],
    regulariser: Callable[[], Tensor] | None,
    after: Callable[[Lesson], None],
) -> None:
    """Steps of the optimiser until there are so many.

    Args:
        lesson: where it stands; changed.
        tasks: one of each adapter.
        steps: in all, those made before included; `size`: inputs of each adapter and step.
        seed: of the order of the inputs.
        show: hands the model its factors.
        regulariser: what is added to the mean of the tasks' losses.
        after: called after every step.
    """
    while lesson.step < steps:
        step = lesson.step
        for group in lesson.optimizer.param_groups:
            group["lr"] = rate(step, steps) * lesson.rates[group["name"]]
        lesson.optimizer.zero_grad()
        lesson.losses.append(_gradients(lesson.student, tasks, step, size, seed, show))
        if regulariser is not None:
            regulariser().backward()  # type: ignore[no-untyped-call]
        lesson.optimizer.step()
        after(lesson)


def _gradients(
    student: Student, tasks: Sequence[Task], step: int, size: int, seed: int, show: Callable[[Factors], None]
) -> float:
    """Leave the gradients of the mean loss in the parameters: one task after the other, for less memory."""
    factors = student.factors()
    show(factors)
    return sum(
        _backward(task.loss(batch_of(step, size, task.seen, seed + number)) / len(tasks))
        for number, task in enumerate(tasks)
    )


def _backward(loss: Tensor) -> float:
    loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]  # the graph of the factors is for all tasks
    return float(loss.detach())
