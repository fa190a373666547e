"""Runs of a sweep on this machine: so many at a time, each in a process of its own.

The processes are forked from a server that has torch loaded and nothing else, so that a run costs no start-up, and
one that crashes takes nothing with it. They end with the process that started them, however that ends.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any, TypeVar, cast

from sasa_cli.errors import EXIT_INTERRUPTED, RunError, SasaError, SpecError
from sasa_cli.launchers.cores import available_cores
from sasa_cli.launchers.interface import REFRESH_SECONDS, Launcher, LaunchOptions, Observer
from sasa_cli.launchers.job import Job, Refusal, ended_state
from sasa_cli.launchers.preflight import Machine, check_before_training, check_everywhere
from sasa_cli.runs.paths import ExperimentPaths
from sasa_cli.runs.sockets import shorten_socket_paths
from sasa_cli.runs.state import RunState
from sasa_cli.spec import RunSpec

INTERRUPTED = (EXIT_INTERRUPTED, -signal.SIGINT, -signal.SIGTERM)
PRELOADED = ["sasa_cli.training.run"]
T = TypeVar("T")


@dataclass(frozen=True)
class _Slot:
    """A share of the machine: some threads, and a GPU where there are any."""

    threads: int
    gpu: int | None


@dataclass(frozen=True)
class _Worker:
    process: ForkServerProcess
    answer: Connection
    job: Job
    slot: _Slot


def launch_local(
    specs: Sequence[RunSpec], results: ExperimentPaths, options: LaunchOptions, observer: Observer
) -> None:
    """Train `specs`, some at a time. What became of each is in its record.

    Raises:
        SasaError: before any training, where images, device or recipe are not as they must be.
        KeyboardInterrupt: interrupted; the runs have stopped at their last checkpoint.
    """
    if options.cluster:
        raise SpecError(
            f"--launcher-set {next(iter(options.cluster))}: nothing to set on this machine; it goes with ray and slurm"
        )
    context = fork_server()
    machine = in_torch_process(context, _looked_at, specs, options)
    free = _slots(machine, options, specs)
    waiting = list(reversed(specs))
    workers: dict[int, _Worker] = {}
    try:
        while waiting or workers:
            while waiting and free:
                worker = _start(context, waiting.pop(), free.pop(), results, options)
                workers[worker.process.sentinel] = worker
                observer.started(worker.job.spec)
            for sentinel in wait([*workers], timeout=REFRESH_SECONDS):
                worker = workers.pop(cast(int, sentinel))
                free.append(worker.slot)
                state = _ended(worker)
                observer.finished(worker.job.spec, state)
                if state.status == "failed" and options.fail_fast:
                    waiting.clear()
                    _stop(workers)
            observer.tick()
    finally:
        _stop(workers)


def fork_server() -> ForkServerContext:
    """Where processes come from that find torch loaded."""
    shorten_socket_paths()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def check_before_sending(specs: Sequence[RunSpec], options: LaunchOptions) -> None:
    """Look at what holds on every machine, for runs that train on another one. Raises `SasaError`."""
    in_torch_process(fork_server(), _looked_at_elsewhere, specs, options)


def in_torch_process(
    context: ForkServerContext,
    look: Callable[[Sequence[RunSpec], LaunchOptions], T],
    specs: Sequence[RunSpec],
    options: LaunchOptions,
) -> T:
    """What `look` gives in a process that has torch. Raises what it raises, `SasaError`."""
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(theirs, look, list(specs), options), daemon=True)
    process.start()
    theirs.close()
    try:
        answer: T | Refusal = ours.recv()
    except EOFError as error:
        process.join()
        raise RunError(f"the check before the sweep died with exit code {process.exitcode}") from error
    process.join()
    if isinstance(answer, Refusal):
        raise answer.as_error()
    return answer


def _answer(
    answer: Connection,
    look: Callable[[Sequence[RunSpec], LaunchOptions], Any],
    specs: Sequence[RunSpec],
    options: LaunchOptions,
) -> None:
    try:
        answer.send(look(specs, options))
    except SasaError as error:
        answer.send(Refusal.of(error))


def _looked_at(specs: Sequence[RunSpec], options: LaunchOptions) -> Machine:
    return check_before_training(specs, options.data_dir, options.device)


def _looked_at_elsewhere(specs: Sequence[RunSpec], options: LaunchOptions) -> None:
    check_everywhere(specs, options.data_dir)


def _threads(options: LaunchOptions, runs: int) -> int:
    """The cores divided between the runs that train at a time, were the whole sweep still to be trained."""
    cores = available_cores()
    return max(1, cores // min(options.jobs or cores, runs))


def _slots(machine: Machine, options: LaunchOptions, specs: Sequence[RunSpec]) -> list[_Slot]:
    """The machine divided between `options.jobs` runs."""
    cores, runs = available_cores(), len(specs)
    if machine.device != "cpu":
        count = min(options.jobs or machine.count, runs)
        return [_Slot(max(1, cores // count), index % machine.count) for index in range(count)]
    threads = options.threads or _threads(options, runs)
    most = max(spec.recipe.threads or threads for spec in specs)
    count = min(options.jobs or max(1, cores // most), runs)
    return [_Slot(threads, None) for _ in range(count)]


def _start(
    context: ForkServerContext, spec: RunSpec, slot: _Slot, results: ExperimentPaths, options: LaunchOptions
) -> _Worker:
    ours, theirs = context.Pipe(duplex=False)
    job = Job(spec, results.run(spec.run_id), options.device, options.data_dir, slot.threads)
    process = context.Process(target=_work, args=(theirs, job, slot.gpu), name=spec.run_id)
    process.start()
    theirs.close()
    return _Worker(process, ours, job, slot)


def _work(answer: Connection, job: Job, gpu: int | None) -> None:
    """Body of a worker process."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(gpu)
    _end_with_parent()
    try:
        answer.send(job())
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _end_with_parent() -> None:
    """Interrupt this process when the one that started the sweep is gone."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch(sentinel: int) -> None:
        wait([sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, args=(parent.sentinel,), daemon=True).start()


def _ended(worker: _Worker) -> RunState:
    """The state of a run whose process has ended."""
    worker.process.join()
    code = worker.process.exitcode
    refusal, death = None, None if code in INTERRUPTED else f"the process died with exit code {code}"
    with contextlib.suppress(EOFError):  # nothing was sent: the process was interrupted, or died
        refusal, death = worker.answer.recv(), None
    worker.answer.close()
    return ended_state(worker.job.paths, refusal, death)


def _stop(workers: dict[int, _Worker]) -> None:
    """Interrupt what is running and wait until each has written its state."""
    for worker in workers.values():
        worker.process.terminate()
    for worker in workers.values():
        worker.process.join()


LOCAL = Launcher(launch_local, _threads)
