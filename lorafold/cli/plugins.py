"""What other people have registered, as choices on the command line: `core=my_rule`, `core=path/to/rule.py:my_rule`.

Hydra asks here for what has no file in `conf/`, in a defaults list, in a sweep and for completion alike. Names are
listed without an import; torch and the code that a name stands for are imported when the name is given.
"""

from __future__ import annotations

import re
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.errors import ConfigCompositionException
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from lorafold.common.errors import LorafoldError
from lorafold.common.registry import installed, is_at_hand

# Groups of `conf/` and of entry points.
GROUPS = {"core": "lorafold.core_rules", "objective": "lorafold.distances", "solver": "lorafold.solvers"}


class RegisteredSource(ConfigSource):
    """A group of configs without files: a name and the defaults in the signature of the function that it stands for."""

    @staticmethod
    def scheme() -> str:
        return "lorafold"

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return config_path.strip("/") in GROUPS

    def is_config(self, config_path: str) -> bool:
        group, name = _split(config_path)
        return group in GROUPS and (is_at_hand(name) or name in installed(GROUPS[group]))

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        group = config_path.strip("/")
        return [*installed(GROUPS[group])] if group in GROUPS and results_filter != ObjectType.GROUP else []

    def load_config(self, config_path: str) -> ConfigResult:
        from lorafold.pipelines.merge.plan import resolved

        try:
            node = OmegaConf.create(resolved(*_split(config_path)))
        except LorafoldError as error:
            raise ConfigCompositionException(str(error)) from None
        return ConfigResult(self.provider, f"{self.scheme()}://", node, {"package": None})


class RegisteredPath(SearchPathPlugin):
    """Puts the source behind `conf/`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append("lorafold", f"{RegisteredSource.scheme()}://")


def register_plugins() -> None:
    """Make both known to Hydra."""
    for plugin in (RegisteredSource, RegisteredPath):
        Plugins.instance().register(plugin)


def with_homes(argument: str) -> str:
    """The argument with `~/` in front of a file at hand written out: Hydra's grammar has no tilde, and no shell expands
    one behind an equals sign."""
    return re.sub(r"(?<=[=,])~/(?=[^,]*\.py:)", lambda _: f"{Path.home().as_posix()}/", argument)


def _split(config_path: str) -> tuple[str, str]:
    group, _, name = config_path.partition("/")
    return group, name.removesuffix(".yaml")
