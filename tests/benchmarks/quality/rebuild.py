"""Trains every adapter of a family of tasks that is not there yet.

A family is a module with RECIPES, a recipe for each task, `examples(name, sources)`, and `Trainer().train(name,
examples, folder)`, which writes the task's files and returns what was measured. Its bench folder is DIR/FAMILY, the
packages are unpacked in DIR/sources. tasks.json is written after each task: a run that was killed goes on with the
next one, and a task whose recipe and files are those of its entry is not trained again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from quality.sources import Sources

FAMILIES = {"encoder": "quality.train_encoder", "lm": "quality.train_lm"}
Json = dict[str, Any]


def rebuild(families: Sequence[str], data: Path, only: Sequence[str] | None = None) -> None:
    """Train what is missing in the families' folders."""
    for family in families:
        module = import_module(FAMILIES[family])
        tasks = {name: recipe for name, recipe in module.RECIPES.items() if not only or name in only}
        build(module, tasks, Sources(data / "sources"), data / family)


def build(module: Any, tasks: Json, sources: Sources, folder: Path) -> None:
    """Train the tasks that the folder lacks, one after another on one thread."""
    torch.set_num_threads(1)
    trainer = None
    for name, recipe in tasks.items():
        if finished(folder, name, asdict(recipe)):
            continue
        trainer = trainer or module.Trainer()
        examples = module.examples(name, sources)
        measured = trainer.train(name, examples, folder)
        counts = {split: len(of) for split, of in examples.splits.items()}
        described = {"recipe": asdict(recipe), "labels": examples.labels, "examples": counts, "data": examples.digest}
        entry = {**described, **measured, "files": digests(folder, name)}
        write(folder / "tasks.json", {**read(folder), name: entry})
        print(f"{folder.name} {name}: {measured['scores']}, {measured['seconds']} s", file=sys.stderr, flush=True)


def finished(folder: Path, name: str, recipe: Json) -> bool:
    """Whether a task was trained by this recipe and its files are those that were written then."""
    entry = read(folder).get(name, {})
    return entry.get("recipe") == recipe and entry.get("files") == digests(folder, name)


def digests(folder: Path, name: str) -> dict[str, str]:
    """SHA-256 of every file of a task, by its path in the folder."""
    patterns = (f"adapters/{name}/*", f"heads/{name}.*", f"tests/{name}.*")
    paths = sorted(path for pattern in patterns for path in folder.glob(pattern))
    return {path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest() for path in paths}


def read(folder: Path) -> Json:
    """tasks.json, if it is there."""
    path = folder / "tasks.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write(path: Path, content: Json) -> None:
    """As JSON, and whole or not at all."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(path)
