"""Runs of a sweep as tasks of a Ray cluster: one that runs already, or one that is started on this machine.

The launcher for Ray on PyPI (hydra-ray-launcher) needs a cloudpickle that current joblib refuses, and boto3.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, run_job, setup_globals
from hydra.errors import CompactHydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from lorafold.common.errors import NOT_INSTALLED

log = logging.getLogger(__name__)


class RayLauncher(Launcher):
    """Launches every run of a batch at once; Ray starts as many of them as there are CPUs for.

    Args:
        address: of a running cluster, or "auto": the one of this machine; None: that in RAY_ADDRESS if it is set, else
            start one on this machine, and stop it afterwards. Machines of a cluster must find the same paths.
        num_cpus: that each run takes, and its number of threads.
        num_gpus: that each run takes; a share of one lets several runs use it.
        cluster_cpus: of the cluster that is started; None: those of the machine.
    """

    def __init__(self, address: str | None, num_cpus: int, num_gpus: float, cluster_cpus: int | None) -> None:
        self.address, self.cluster_cpus = address, cluster_cpus
        self.resources = {"num_cpus": num_cpus, "num_gpus": num_gpus}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        try:
            import ray  # only where a sweep uses it
        except ModuleNotFoundError:
            raise CompactHydraException(f"hydra/launcher=ray {NOT_INSTALLED.format('ray')}") from None

        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        Path(self.config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        started_here = not ray.is_initialized()
        if started_here:
            self._connect(ray)
        try:
            remote = ray.remote(_run).options(**self.resources, max_retries=0)
            state, here = ray.put(Singleton.get_state()), Path.cwd()
            runs = [
                remote.remote(self.context, self._config_of(number, overrides), self.task, state, here)
                for number, overrides in enumerate(job_overrides, initial_job_idx)
            ]
            return [_result(run) for run in runs]
        finally:
            if started_here:
                ray.shutdown()

    def _connect(self, ray: Any) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Workers' lines come back with their results: Ray loses the last ones when it stops.
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            ray.init(**self._cluster(), **quiet)
        except ConnectionError as error:
            raise CompactHydraException("no Ray cluster, or RAY_AUTH_MODE is not the same here as there") from error

    def _cluster(self) -> dict[str, Any]:
        if address := self.address or os.environ.get("RAY_ADDRESS"):
            return {"address": address}
        # Not None, with which Ray goes to any cluster that it finds on this machine.
        return {"address": "local", "num_cpus": self.cluster_cpus, "include_dashboard": False}

    def _config_of(self, number: int, overrides: Sequence[str]) -> DictConfig:
        log.info("\t#%d : %s", number, " ".join(filter_overrides(overrides)))
        config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = f"{config.hydra.job.name}_{number}"
            config.hydra.job.num = number
        return config


def _run(
    context: HydraContext, config: DictConfig, task: TaskFunction, state: Any, here: Path
) -> tuple[JobReturn, str]:
    """In a worker; returned are the result and what was printed."""
    os.chdir(here)  # where the user stands, not where the cluster was started: relative paths begin there
    setup_globals()
    Singleton.set_state(state)
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        result = run_job(
            hydra_context=context,
            config=config,
            task_function=task,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
    return result, printed.getvalue()


def _result(run: Any) -> JobReturn:
    """What the run returned; that a worker died is the failure of its run alone."""
    import ray

    try:
        result, printed = ray.get(run)
    except ray.exceptions.RayError as error:
        result, printed = JobReturn(status=JobStatus.FAILED), ""
        result.return_value = error
    print(printed, end="", flush=True)
    return result
