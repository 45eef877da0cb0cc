"""The schema of the command's settings, and what is said when a setting does not fit it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from hydra._internal.hydra import Hydra
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from lorafold.cli.elsewhere import other_setting, other_value
from lorafold.cli.plugins import register_plugins
from lorafold.cli.ray_launcher import RayLauncher
from lorafold.commands import COMMANDS
from lorafold.commands.help import help_text
from lorafold.common.errors import NOT_INSTALLED, LorafoldError, suggest
from lorafold.common.shell import command_line

Config = TypeVar("Config")
# Choices that other packages bring, and the extra that installs them.
_EXTRAS = {
    "hydra/launcher=joblib": "joblib",
    "hydra/launcher=submitit_local": "slurm",
    "hydra/launcher=submitit_slurm": "slurm",
    "hydra/sweeper=optuna": "optuna",
}


def register(command: str) -> None:
    """Tell Hydra what `conf/COMMAND.yaml` refers to: the schema of the command, and its name."""
    store, settings = ConfigStore.instance().store, COMMANDS[command].config
    node = OmegaConf.structured(settings)
    OmegaConf.set_readonly(node, False)  # of a frozen dataclass: else neither YAML nor the command line change it
    store(name=f"{command}_schema", node=node)
    text = help_text(command, settings, settings.help)
    store(name="command", node={"hydra": {"job": {"name": command}, "help": {"template": text}}}, package="_global_")
    register_plugins()
    # Hydra takes launchers from the package hydra_plugins only, and knows them by name: one of ours needs no package.
    Plugins.instance().class_name_to_class["hydra_plugins.lorafold.RayLauncher"] = RayLauncher


def list_no_groups() -> None:
    """Our help names no config groups, but Hydra looks up all of theirs and ours for it: four fifths of the time."""
    Hydra.format_config_groups = lambda *_, **options: ""  # type: ignore[method-assign]


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
        return _unknown_choice(*error.missing_cfg_file.rpartition("/")[::2], error.options)
    if isinstance(error, OverrideParseException):
        if error.override.startswith(("module_weights=", "block_weights=")):
            return f"cannot read {error.override!r}. Write a backslash before each bracket, or use a YAML file"
        return (
            f"cannot read {error.override!r}. Write KEY=VALUE, a text with special characters in quotes twice: "
            "'KEY=\"my (1), text\"'"
        )
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and isinstance(cause.parent_node, Mapping):
        return _unknown(str(cause.full_key), [str(key) for key in cause.parent_node if key != "hydra"])
    if str(error).startswith("Ambiguous value"):
        return _several(str(error))
    report = ": ".join(" ".join(_lines(part)) for part in (error, cause) if part is not None and str(part))
    return report.removeprefix("Error merging override ")


def _unknown(key: str, names: list[str]) -> str:
    if there := other_setting(key.lower(), names):
        return f"unknown setting {key!r}: {there}"
    listing = f" Expected one of {', '.join(names)}." if names else ""
    return f"unknown setting {key!r}.{suggest(key.rpartition('.')[2], names) or listing}"


def _unknown_choice(group: str, name: str, options: Sequence[str]) -> str:
    if extra := _EXTRAS.get(f"{group}={name}"):
        return f"{group}={name} {NOT_INSTALLED.format(extra)}"
    if name.lower() not in options and (there := other_value(group, name)):
        return f"unknown {group} {name!r}: {there}"
    return f"unknown {group} {name!r}. Choose one of {', '.join(options)}.{suggest(name, options)}"


def _several(report: str) -> str:
    """Of what Hydra calls ambiguous: values with commas, without a sweep."""
    override = report.partition("'")[2].partition("'")[0]
    key, _, value = override.partition("=")
    listed = command_line([f"{key}=[{value}]"]) or "'KEY=[A,B]'"
    return f"{override!r} is several values: add -m for a run with each of them, or write {listed} for a list"


def _lines(error: BaseException) -> list[str]:
    """A report without what follows it: types, and where configs were searched for."""
    lines = [line.strip() for line in str(error).strip().splitlines()]
    noise = ("full_key:", "object_type=", "reference_type=", "Config search path:", "provider=")
    return [line for line in lines if line and not line.startswith(noise)]
