"""The schema of the command's settings, and what is said when a setting does not fit it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from lorafold.cli.ray_launcher import RayLauncher
from lorafold.common.errors import LorafoldError
from lorafold.common.options import suggest
from lorafold.pipelines.align.settings import AlignSettings
from lorafold.pipelines.compare.settings import CompareSettings
from lorafold.pipelines.convert.settings import ConvertSettings
from lorafold.pipelines.merge.settings import Settings
from lorafold.pipelines.resize.settings import ResizeSettings

Config = TypeVar("Config")


@dataclass(frozen=True)
class MergeConfig(Settings):
    """`conf/merge.yaml`: the settings of a merge, and what only the command needs to know."""

    adapters: Any = "demo"  # list of files and folders, or "demo": the pair that lorafold ships
    output: str | None = None  # file or folder to write; None: merged[.safetensors] in the run's folder
    page: bool = True  # write overlap.html
    path: int | None = None  # number of merges along the path from the first to the second adapter; None: one merge
    evaluator: str | None = None  # package.module:function, which is given the merged adapter's path
    score: Any = None  # what a run returns to the sweeper: phi, error, retained, parameters, or the evaluator's own
    tracker: str | None = None  # where the run is logged too: "mlflow"
    resume: bool = False  # leave out what is finished already in the folder of the run
    overwrite: bool = False  # replace what is there already: the output, or an earlier run in the same folder
    threads: int | None = None  # of the CPU; None: leave them as they are, or in a sweep share them

    def settings(self) -> Settings:
        """What `lorafold.merge` takes."""
        return Settings(**{field.name: getattr(self, field.name) for field in fields(Settings)})


@dataclass(frozen=True)
class CompareConfig(CompareSettings):
    """`conf/compare.yaml`: the settings of a comparison, and what only the command needs to know."""

    adapters: Any = "demo"  # list of files and folders, or "demo": the pair that lorafold ships
    page: bool = True  # write overlap.html
    threads: int | None = None  # of the CPU; None: leave them as they are

    def settings(self) -> CompareSettings:
        """What `lorafold.compare` takes."""
        return CompareSettings(**{field.name: getattr(self, field.name) for field in fields(CompareSettings)})


@dataclass(frozen=True)
class AlignConfig(AlignSettings):
    """`conf/align.yaml`: the settings of an alignment, and what only the command needs to know."""

    adapters: Any = "demo"  # list of files and folders, or "demo": the pair that lorafold ships
    threads: int | None = None  # of the CPU; None: leave them as they are

    def settings(self) -> AlignSettings:
        """What `lorafold.align` takes."""
        return AlignSettings(**{field.name: getattr(self, field.name) for field in fields(AlignSettings)})


@dataclass(frozen=True)
class InspectConfig:
    """`conf/inspect.yaml`: what to look at."""

    adapters: Any = "demo"  # a file or folder, a list of them, or "demo": the pair that lorafold ships
    csv: bool = False  # write modules.csv
    threads: int | None = None  # of the CPU; None: leave them as they are


@dataclass(frozen=True)
class ResizeConfig(ResizeSettings):
    """`conf/resize.yaml`: the settings of a change of rank, and what only the command needs to know."""

    adapters: Any = "demo"  # a file or folder, or "demo": the first of the pair that lorafold ships
    output: str | None = None  # file or folder to write; None: resized[.safetensors] in the run's folder
    overwrite: bool = False  # replace what is there already: the output, or an earlier run in the same folder
    threads: int | None = None  # of the CPU; None: leave them as they are

    def settings(self) -> ResizeSettings:
        """What `lorafold.resize` takes."""
        return ResizeSettings(**{field.name: getattr(self, field.name) for field in fields(ResizeSettings)})


@dataclass(frozen=True)
class ConvertConfig(ConvertSettings):
    """`conf/convert.yaml`: the settings of a conversion, and what only the command needs to know."""

    adapters: Any = "demo"  # a file or folder, or "demo": the first of the pair that lorafold ships
    output: str | None = None  # file or folder to write; None: converted[.safetensors] in the run's folder
    overwrite: bool = False  # replace what is there already: the output, or an earlier run in the same folder
    threads: int | None = None  # of the CPU; None: leave them as they are

    def settings(self) -> ConvertSettings:
        """What `lorafold.convert` takes."""
        return ConvertSettings(self.format, self.base, self.input_rank)


@dataclass(frozen=True)
class ReproduceConfig:
    """`conf/reproduce.yaml`: what to repeat."""

    run: str | None = None  # the folder that a merge left
    tolerance: float = 1e-3  # largest relative difference of an update, and largest angle in radians, of equal runs
    threads: int | None = None  # of the CPU; None: as many as then


@dataclass(frozen=True)
class ReportConfig:
    """`conf/report.yaml`: what to report on."""

    runs: Any = "outputs"  # a folder, or a list of them: runs at any depth
    chosen: str | None = None  # the run to begin with; None: whose worst adapter keeps most


SCHEMAS: dict[str, type] = {  # by command
    "merge": MergeConfig,
    "compare": CompareConfig,
    "align": AlignConfig,
    "inspect": InspectConfig,
    "resize": ResizeConfig,
    "convert": ConvertConfig,
    "reproduce": ReproduceConfig,
    "report": ReportConfig,
}


def register(command: str) -> None:
    """Tell Hydra what `conf/*.yaml` refer to: the schema of each command, and the name of this one."""
    store = ConfigStore.instance().store
    for name, schema in SCHEMAS.items():
        node = OmegaConf.structured(schema)
        OmegaConf.set_readonly(node, False)  # of a frozen dataclass: else neither YAML nor the command line change it
        store(name=f"{name}_schema", node=node)
    store(name="command", node={"hydra": {"job": {"name": command}}}, package="_global_")
    # Hydra takes launchers from the package hydra_plugins only, and knows them by name: one of ours needs no package.
    Plugins.instance().class_name_to_class["hydra_plugins.lorafold.RayLauncher"] = RayLauncher


def read(config: DictConfig, schema: type[Config]) -> Config:
    """The settings as values; what `+key=value` added to them is an error, as any other misspelt key."""
    values: dict[Any, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    names = [field.name for field in fields(schema)]  # type: ignore[arg-type]
    for key in values:
        if key not in names:
            raise LorafoldError(_unknown(str(key), names))
    return schema(**values)


def explain(error: Exception) -> str:
    """What Hydra, OmegaConf or YAML report about the settings, in one line and with the likely remedy."""
    cause = error.__cause__
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return f"unknown {group} {name!r}. Choose one of {', '.join(error.options)}.{suggest(name, error.options)}"
    if isinstance(error, OverrideParseException):
        if error.override.startswith(("module_weights=", "block_weights=")):
            return f"cannot read {error.override!r}. Write a backslash before each bracket, or use a YAML file"
        return (
            f"cannot read {error.override!r}. Write KEY=VALUE; quote names with special characters twice: "
            "'adapters=[\"my (1)=a.safetensors\",b.safetensors]'"
        )
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and isinstance(cause.parent_node, Mapping):
        return _unknown(str(cause.full_key), [str(key) for key in cause.parent_node if key != "hydra"])
    if str(error).startswith("Ambiguous value"):
        return f"{_lines(error)[0]}. For a list write 'KEY=[A,B]', with the quotes; to run each of them add -m"
    report = ": ".join(" ".join(_lines(part)) for part in (error, cause) if part is not None and str(part))
    return report.removeprefix("Error merging override ")


def _unknown(key: str, names: list[str]) -> str:
    name = key.rpartition(".")[2]
    listing = f" Expected one of {', '.join(names)}." if names else ""
    return f"unknown setting {key!r}.{suggest(name, names)}{listing}"


def _lines(error: BaseException) -> list[str]:
    """A report without what follows it: types, and where configs were searched for."""
    lines = [line.strip() for line in str(error).strip().splitlines()]
    noise = ("full_key:", "object_type=", "reference_type=", "Config search path:", "provider=")
    return [line for line in lines if line and not line.startswith(noise)]
