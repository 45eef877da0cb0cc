"""Optional: the settings and figures of a run in a tracker of experiments, beside `metrics.json`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lorafold.common.errors import LorafoldError
from lorafold.common.registry import Registry

Track = Callable[[str, Mapping[str, Any]], None]  # (name of the run, content of metrics.json)


def find_tracker(name: str) -> Track:
    """The tracker of that name, ready to use.

    Raises:
        LorafoldError: an unknown name, a package that is not installed, or no place to write to.
    """
    return TRACKERS[name]()


TRACKERS: Registry[Callable[[], Track]] = Registry("tracker", "lorafold.trackers")


def tracker(name: str) -> Callable[[Callable[[], Track]], Callable[[], Track]]:
    """Register a function that makes the tracker `name` ready, or raises LorafoldError."""

    def register(function: Callable[[], Track]) -> Callable[[], Track]:
        return TRACKERS.add(name, function, function)

    return register


@tracker("mlflow")
def _mlflow() -> Track:
    """MLflow, where MLFLOW_TRACKING_URI says: lorafold writes nowhere that nobody named."""
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        raise LorafoldError(
            "tracker=mlflow, but MLFLOW_TRACKING_URI is not set",
            remedy="Set it to a server, or to a database such as sqlite:////home/me/runs.db.",
        )
    try:
        import mlflow
    except ImportError:
        raise LorafoldError("tracker=mlflow, but mlflow is missing", remedy="pip install 'lorafold[mlflow]'.") from None

    def track(name: str, metrics: Mapping[str, Any]) -> None:
        mlflow.set_experiment("lorafold")
        with mlflow.start_run(run_name=name):
            mlflow.log_params({key: str(value)[:500] for key, value in _leaves(metrics["config"])})
            measured = {"summary": metrics["summary"], "evaluation": metrics.get("evaluation", {})}
            mlflow.log_metrics({key: float(value) for key, value in _leaves(measured) if _is_number(value)})

    return track


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The plain values of nested mappings and lists, by their paths."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    elif isinstance(tree, list) and path != "adapters":
        for place, value in enumerate(tree, 1):
            yield from _leaves(value, f"{path}.{place}")
    else:
        yield path, tree


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
