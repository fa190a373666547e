"""Runs of a sweep as tasks of a Ray cluster, one GPU each where the cluster has any.

Results and images must lie where every node finds them under the same path.
"""

import importlib
from collections.abc import Sequence
from typing import Any

from sasa_cli.errors import RunError, SpecError, one_line
from sasa_cli.launchers.interface import REFRESH_SECONDS, Launcher, LaunchOptions, Observer
from sasa_cli.launchers.job import Job, ended_state
from sasa_cli.launchers.local import check_before_sending
from sasa_cli.runs.paths import ExperimentPaths
from sasa_cli.runs.state import RunState
from sasa_cli.spec import RunSpec

DEFAULTS = {"num_cpus": 1, "max_retries": 0}


def launch_ray(specs: Sequence[RunSpec], results: ExperimentPaths, options: LaunchOptions, observer: Observer) -> None:
    """Train `specs` on the cluster that RAY_ADDRESS names, else on one of this machine alone.

    `options.cluster` are arguments of `ray.remote`, such as num_cpus, num_gpus or resources.

    Raises:
        SasaError: before any training, where Ray, images or recipe are not as they must be.
        KeyboardInterrupt: interrupted; what was running is cancelled.
    """
    ray = _ray()
    _check_request(ray, DEFAULTS | options.cluster)
    check_before_sending(specs, options)
    _connect(ray)
    gpus = 1 if options.device != "cpu" and ray.cluster_resources().get("GPU") else 0
    request = DEFAULTS | {"num_gpus": gpus} | options.cluster
    threads = options.threads or _threads(options, len(specs))
    task = ray.remote(**request)(_work)
    waiting = list(reversed(specs))
    running: dict[Any, Job] = {}
    try:
        while waiting or running:
            while waiting and (options.jobs is None or len(running) < options.jobs):
                job = Job.elsewhere(waiting.pop(), results, options, threads)
                running[task.remote(job)] = job
                observer.started(job.spec)
            ended, _ = ray.wait(list(running), timeout=REFRESH_SECONDS)
            for reference in ended:
                job = running.pop(reference)
                state = _state(ray, reference, job)
                observer.finished(job.spec, state)
                if state.status == "failed" and options.fail_fast:
                    waiting.clear()
                    _cancel(ray, running)
            observer.tick()
    finally:
        _cancel(ray, running)
        ray.shutdown()


def _threads(options: LaunchOptions, runs: int) -> int:
    return options.whole_number("num_cpus", DEFAULTS["num_cpus"])


def _check_request(ray: Any, request: dict[str, Any]) -> None:
    """Raises `SpecError` for what Ray cannot be asked for."""
    try:
        ray.remote(**request)(_work)
    except (AssertionError, TypeError, ValueError) as error:
        raise SpecError(f"--launcher-set: {one_line(str(error))}") from error


def _connect(ray: Any) -> None:
    try:
        ray.init(include_dashboard=False, log_to_driver=False, ignore_reinit_error=True)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise RunError(f"--launcher ray: no cluster answers: {one_line(str(error))}") from error


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise SpecError("--launcher ray: Ray is not installed; pip install 'sasa-cli[ray]'") from error


def _work(job: Job) -> Any:
    return job()


def _state(ray: Any, reference: Any, job: Job) -> RunState:
    try:
        return ended_state(job.paths, ray.get(reference), None)
    except (ray.exceptions.TaskCancelledError, ray.exceptions.RayTaskError):
        return ended_state(job.paths, None, None)  # interrupted
    except ray.exceptions.RayError as error:
        return ended_state(job.paths, None, f"the Ray task died: {one_line(str(error))}")


def _cancel(ray: Any, running: dict[Any, Job]) -> None:
    for reference in running:
        ray.cancel(reference)  # raises KeyboardInterrupt in the task, which then writes its state
    if running:
        ray.wait(list(running), num_returns=len(running), timeout=30)
    running.clear()


RAY = Launcher(launch_ray, _threads)
