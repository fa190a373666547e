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
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Protocol, Self, cast

from sasa_cli.errors import EXIT_INTERRUPTED, LockedError, RunError, SasaError
from sasa_cli.launchers.preflight import Device, Preflight, preflight
from sasa_cli.launchers.states import RunState, state_of
from sasa_cli.record import ExperimentPaths, Failure, RunPaths, read_record, write_record
from sasa_cli.spec import RunSpec

REFRESH_SECONDS = 0.5
INTERRUPTED = (0, EXIT_INTERRUPTED, -signal.SIGINT, -signal.SIGTERM)
PRELOADED = ["sasa_cli.training.run"]


@dataclass(frozen=True)
class LaunchOptions:
    """How a sweep is run; none of it changes the spec of a run."""

    jobs: int | None = None
    """Runs at a time; None: as many as fit."""
    device: Device = "auto"
    data_dir: Path | None = None
    fail_fast: bool = False


class Observer(Protocol):
    """Whoever shows the sweep to the user."""

    def started(self, spec: RunSpec) -> None: ...

    def finished(self, spec: RunSpec, state: RunState) -> None: ...

    def tick(self) -> None: ...


@dataclass(frozen=True)
class _Slot:
    """A share of the machine: some threads, and a GPU where there are any."""

    threads: int
    gpu: int | None


@dataclass(frozen=True)
class _Refusal:
    """An error on its way from one process to another."""

    message: str
    exit_code: int
    locked: bool

    @classmethod
    def of(cls, error: SasaError) -> Self:
        return cls(str(error), error.exit_code, isinstance(error, LockedError))

    def as_error(self) -> SasaError:
        error = SasaError(self.message)
        error.exit_code = self.exit_code
        return error


@dataclass(frozen=True)
class _Worker:
    process: ForkServerProcess
    answer: Connection
    spec: RunSpec
    slot: _Slot


def launch_local(
    specs: Sequence[RunSpec], results: ExperimentPaths, options: LaunchOptions, observer: Observer
) -> None:
    """Train `specs`, some at a time. What became of each is in its record.

    Raises:
        SasaError: before any training, where images, device or recipe are not as they must be.
        KeyboardInterrupt: interrupted; the runs have stopped at their last checkpoint.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    found = _checked(context, specs, options)
    free = _slots(found, options.jobs, len(specs))
    waiting = list(reversed(specs))
    workers: dict[int, _Worker] = {}
    try:
        while waiting or workers:
            while waiting and free:
                worker = _start(context, waiting.pop(), free.pop(), results, options)
                workers[worker.process.sentinel] = worker
                observer.started(worker.spec)
            for sentinel in wait([*workers], timeout=REFRESH_SECONDS):
                worker = workers.pop(cast(int, sentinel))
                free.append(worker.slot)
                state = _outcome(worker, results.run(worker.spec.run_id))
                observer.finished(worker.spec, state)
                if state.status == "failed" and options.fail_fast:
                    waiting.clear()
                    _stop(workers)
            observer.tick()
    finally:
        _stop(workers)


def _checked(
    context: multiprocessing.context.ForkServerContext, specs: Sequence[RunSpec], options: LaunchOptions
) -> Preflight:
    """Look at everything that can be wrong before the first run, in a process that has torch. Raises `SasaError`."""
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_check, args=(theirs, list(specs), options), daemon=True)
    process.start()
    theirs.close()
    try:
        answer: Preflight | _Refusal = ours.recv()
    except EOFError as error:
        process.join()
        raise RunError(f"the check before the sweep died with exit code {process.exitcode}") from error
    process.join()
    if isinstance(answer, _Refusal):
        raise answer.as_error()
    return answer


def _check(answer: Connection, specs: list[RunSpec], options: LaunchOptions) -> None:
    try:
        answer.send(preflight(specs, options.device, options.data_dir))
    except SasaError as error:
        answer.send(_Refusal.of(error))


def available_cores() -> int:
    """Cores that this process may use; macOS does not say, so there all of them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _slots(found: Preflight, jobs: int | None, runs: int) -> list[_Slot]:
    """The machine divided between `jobs` runs."""
    cores = available_cores()
    if found.device == "cuda":
        count = min(jobs or found.gpus, runs)
        return [_Slot(max(1, cores // count), index % found.gpus) for index in range(count)]
    count = min(jobs or cores, runs)
    return [_Slot(max(1, cores // count), None) for _ in range(count)]


def _start(
    context: multiprocessing.context.ForkServerContext,
    spec: RunSpec,
    slot: _Slot,
    results: ExperimentPaths,
    options: LaunchOptions,
) -> _Worker:
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(
        target=_work, args=(theirs, spec, results.run(spec.run_id), options, slot), name=spec.run_id
    )
    process.start()
    theirs.close()
    return _Worker(process, ours, spec, slot)


def _work(answer: Connection, spec: RunSpec, paths: RunPaths, options: LaunchOptions, slot: _Slot) -> None:
    """Body of a worker process: one run. Errors are in the record; the answer is for those that cannot be."""
    from sasa_cli.training.run import RunOptions, train_run

    if slot.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(slot.gpu)
    _end_with_parent()
    try:
        _set_broken_record_aside(paths)
        train_run(spec, paths, RunOptions(device=options.device, data_dir=options.data_dir, threads=slot.threads))
    except SasaError as error:
        answer.send(_Refusal.of(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _set_broken_record_aside(paths: RunPaths) -> None:
    """A record that cannot be read is kept under another name; the run then makes a new one from its checkpoint."""
    try:
        read_record(paths)
    except RunError:
        paths.record.replace(paths.record.with_name(f"{paths.record.name}.broken"))


def _end_with_parent() -> None:
    """Interrupt this process when the one that started the sweep is gone."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch(sentinel: int) -> None:
        wait([sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, args=(parent.sentinel,), daemon=True).start()


def _outcome(worker: _Worker, paths: RunPaths) -> RunState:
    """The state of a run whose process has ended; a death without a record is recorded here."""
    worker.process.join()
    refusal: _Refusal | None = None
    with contextlib.suppress(EOFError):  # nothing was sent: the run came to its end, or its process died
        refusal = worker.answer.recv()
    worker.answer.close()
    if refusal and refusal.locked:
        return RunState("running", None, refusal.message)
    state = state_of(paths)
    if state.status != "missing" or worker.process.exitcode in INTERRUPTED:
        return state
    message = (
        refusal.message if refusal else f"the process ended without a word, with exit code {worker.process.exitcode}"
    )
    record = read_record(paths)
    if record is not None:
        failure = Failure(kind="RunError", message=message, traceback="", epoch=record.epochs_done)
        write_record(paths, record.model_copy(update={"status": "failed", "error": failure}))
    return RunState("failed", record, message)


def _stop(workers: dict[int, _Worker]) -> None:
    """Interrupt what is running and wait until each has written its state."""
    for worker in workers.values():
        worker.process.terminate()
    for worker in workers.values():
        worker.process.join()
