"""Runs of a sweep as jobs of Slurm, through submitit, which asks for them anew when they are preempted.

The sweep's process only submits and watches: when it ends, the jobs go on, and `sasa sweep --status` shows them.
"""

import contextlib
import importlib
import io
import re
import time
from collections.abc import Sequence
from typing import Any

from sasa_cli.errors import RunError, SpecError, one_line
from sasa_cli.launchers.interface import Launcher, LaunchOptions, Observer
from sasa_cli.launchers.job import Job, ended_state
from sasa_cli.launchers.local import check_before_sending
from sasa_cli.runs.paths import ExperimentPaths
from sasa_cli.runs.state import RunState
from sasa_cli.spec import RunSpec

POLL_SECONDS = 5.0
DEFAULTS = {"timeout_min": 24 * 60, "cpus_per_task": 4}
UNREACHABLE = "Unable to contact slurm controller"
JOB_FOLDER = "slurm"  # below the results of the experiment: scripts and output of the jobs


class RequeuedJob(Job):
    """A job that goes on from its checkpoint when Slurm takes its node away."""

    def checkpoint(self) -> Any:
        """What submitit submits in place of the preempted job."""
        return importlib.import_module("submitit.helpers").DelayedSubmission(self)


def launch_slurm(
    specs: Sequence[RunSpec], results: ExperimentPaths, options: LaunchOptions, observer: Observer
) -> None:
    """Submit `specs` as an array of jobs and wait for them.

    `options.cluster` are parameters of submitit, such as slurm_partition, timeout_min or gpus_per_node.

    Raises:
        SasaError: before any training, where Slurm, images or recipe are not as they must be.
        KeyboardInterrupt: no longer watched; the jobs go on.
    """
    executor = _executor(ExperimentPaths(results.folder.absolute()))
    _ask(executor, f"sasa-{specs[0].experiment}", options)
    check_before_sending(specs, options)
    threads = options.threads or _threads(options, len(specs))
    jobs = [RequeuedJob.elsewhere(spec, results, options, threads) for spec in specs]
    submitted = _submit(executor, jobs)
    for job in jobs:
        observer.started(job.spec)
    open_jobs = dict(zip(submitted, jobs, strict=True))
    while open_jobs:
        for submission in [each for each in open_jobs if each.done()]:
            job = open_jobs.pop(submission)
            state = _state(submission, job)
            observer.finished(job.spec, state)
            if state.status == "failed" and options.fail_fast:
                for other in open_jobs:
                    other.cancel()
        observer.tick()
        time.sleep(POLL_SECONDS if open_jobs else 0)


def _threads(options: LaunchOptions, runs: int) -> int:
    return options.whole_number("cpus_per_task", DEFAULTS["cpus_per_task"])


def _ask(executor: Any, name: str, options: LaunchOptions) -> None:
    """Tell submitit what each job needs. Raises `SpecError` for what it does not know."""
    parameters = DEFAULTS | options.cluster
    if options.jobs is not None:
        parameters["slurm_array_parallelism"] = options.jobs
    try:
        executor.update_parameters(name=name, **parameters)
    except (AssertionError, NameError, TypeError, ValueError) as error:
        said = re.sub(r"<class '(\w+)'>", r"\1", one_line(str(error)))
        raise SpecError(f"--launcher-set: {said}") from error


def _submit(executor: Any, jobs: Sequence[Job]) -> list[Any]:
    """The jobs of an array. Raises `SpecError` where Slurm refuses them, `RunError` where it does not answer."""
    submitit = importlib.import_module("submitit")
    submitted = []
    try:
        # What sbatch says is in the error; submitit prints it as well.
        with contextlib.redirect_stderr(io.StringIO()), executor.batch():
            submitted = [executor.submit(job) for job in jobs]
    except (OSError, submitit.core.utils.FailedJobError) as error:
        said = one_line(str(error).replace("sbatch: error: ", ""))
        kind = RunError if isinstance(error, OSError) or UNREACHABLE in said else SpecError
        raise kind(f"--launcher slurm: sbatch takes no jobs: {said}") from error
    return submitted


def _executor(results: ExperimentPaths) -> Any:
    try:
        submitit = importlib.import_module("submitit")
    except ImportError as error:
        raise SpecError("--launcher slurm: submitit is not installed; pip install 'sasa-cli[slurm]'") from error
    executor = submitit.AutoExecutor(folder=results.folder / JOB_FOLDER)
    if executor.cluster != "slurm":
        raise SpecError("--launcher slurm: there is no Slurm here (no sbatch); allowed are local and ray")
    return executor


def _state(submission: Any, job: Job) -> RunState:
    submitit = importlib.import_module("submitit")
    try:
        return ended_state(job.paths, submission.result(), None)
    except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedJobError) as error:
        return ended_state(job.paths, None, f"Slurm job {submission.job_id} died: {one_line(str(error))}")


SLURM = Launcher(launch_slurm, _threads)
