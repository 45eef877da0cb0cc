"""Which adapters are merged together: sets of adapters of different tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from itertools import combinations, product

AdapterSet = tuple[str, ...]
GROUPS = ("pairs", "triples", "sixes", "all")
_SIZES = {"pairs": 2, "triples": 3, "sixes": 6}


def adapter_sets(tasks: Mapping[str, str], group: str, most: int | None, seed: int) -> list[AdapterSet]:
    """Sets of adapters of different tasks, in an order drawn from the seed.

    The order depends on the members of each set alone: with a larger `most`, or with further adapters in the folder,
    earlier sets stay chosen (but for those that new ones displace).

    Args:
        tasks: the task of every adapter.
        group: "pairs", "triples", "sixes", or "all": one adapter of every task, for every choice among variants.
        most: keep so many at most.
        seed: of the order.
    """
    found = _all(tasks) if group == "all" else _of_size(tasks, _SIZES[group])
    return sorted(found, key=lambda names: _draw(names, seed))[:most]


def _of_size(tasks: Mapping[str, str], size: int) -> Iterator[AdapterSet]:
    for names in combinations(tasks, size):
        if len({tasks[name] for name in names}) == size:
            yield names


def _all(tasks: Mapping[str, str]) -> Iterator[AdapterSet]:
    variants = [[name for name in tasks if tasks[name] == task] for task in dict.fromkeys(tasks.values())]
    yield from product(*variants)


def _draw(names: AdapterSet, seed: int) -> bytes:
    return blake2b(f"{seed} {' '.join(names)}".encode()).digest()
