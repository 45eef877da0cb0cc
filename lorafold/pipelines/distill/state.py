"""The state of a distillation in a file, so that another process goes on where one was stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from torch import Tensor

from lorafold.adapters import Adapter
from lorafold.adapters.files.tensor_file import open_tensors, write_tensors
from lorafold.calibration.content_hash import content_hash
from lorafold.common.errors import LorafoldError
from lorafold.pipelines.distill.features import Probe
from lorafold.pipelines.distill.settings import DistillSettings

# `start` follows from the one, the other only says when to write.
_OF_NO_CONCERN = ("calibration", "save_every")
# In the header of the file.
_KEY = "lorafold_distill"


def state_key(settings: DistillSettings, start: Adapter, adapters: Sequence[Adapter], probes: Sequence[Probe]) -> str:
    """What must be the same for a state to be of use."""
    told = {each.name: getattr(settings, each.name) for each in fields(settings) if each.name not in _OF_NO_CONCERN}
    hashes = [*map(content_hash, (start, *adapters)), *(probe.hash for probe in probes)]
    parts = [json.dumps(told, sort_keys=True), *hashes]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Saved:
    """A file for the state.

    Args:
        path: of the file.
        every: steps after which it is written.
        go_on: whether to begin with what is in it, if it is there.
    """

    path: Path
    every: int
    go_on: bool = False

    def write(self, step: int, state: Mapping[str, Tensor], key: str) -> None:
        """Write it where it is time; as a whole or not at all."""
        if not self.every or step % self.every:
            return
        scratch = self.path.with_name(f"{self.path.name}.new")
        write_tensors(scratch, state, {_KEY: key})
        scratch.replace(self.path)

    def read(self, key: str) -> dict[str, Tensor] | None:
        """The state to go on with, if there is one.

        Raises:
            LorafoldError: it cannot be read, or is of a run with other settings or files.
        """
        if not (self.go_on and self.path.exists()):
            return None
        try:
            file = open_tensors(self.path)
        except LorafoldError as error:
            raise LorafoldError(
                "no state of a distillation", path=self.path, remedy="Remove it, or leave out resume."
            ) from error
        if file.metadata.get(_KEY) != key:
            raise LorafoldError(
                "the state of a run with other settings, adapters or inputs",
                path=self.path,
                remedy="Repeat the same command, or leave out resume.",
            )
        # copies: the file is replaced while the run goes on, which Windows refuses of one that is mapped
        return {name: tensor.clone() for name, tensor in file.tensors.items()}

    def remove(self) -> None:
        """Where it is no longer needed."""
        self.path.unlink(missing_ok=True)
