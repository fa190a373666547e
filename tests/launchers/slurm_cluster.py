"""A Slurm of one node on this machine: real munged, slurmctld and slurmd, ended by their pids."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 60
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "sinfo")
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={munge}
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
KillWait=5
MessageTimeout=5
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=1000
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class UnavailableError(Exception):
    """Why there is no Slurm to be had here."""


@dataclass(frozen=True)
class Cluster:
    configuration: Path
    controller: "subprocess.Popen[bytes]"


@contextlib.contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """Raises `UnavailableError` where it cannot be started."""
    if missing := [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]:
        raise UnavailableError(f"there is no {', '.join(missing)} here (Debian: slurm-wlm, munge)")
    if os.getuid() != 0:
        raise UnavailableError("starting Slurm for a test takes root")
    with contextlib.ExitStack() as daemons:
        munge = _start_munge(folder, daemons)
        for name in ("state", "spool"):
            (folder / name).mkdir()
        configuration = folder / "slurm.conf"
        controller_port, node_port = _free_ports(2)
        configuration.write_text(
            CONFIGURATION.format(
                host=socket.gethostname(),
                folder=folder,
                munge=munge,
                controller_port=controller_port,
                node_port=node_port,
                cores=os.cpu_count(),
            )
        )
        environment = os.environ | {"SLURM_CONF": str(configuration), "PATH": _path()}
        controller = _start(["slurmctld", "-D", "-f", str(configuration)], folder, environment, daemons)
        node = ["slurmd", "-D", "-f", str(configuration), "-N", socket.gethostname()]
        _start(node, folder, environment, daemons)
        _wait_until_idle(environment, folder)
        yield Cluster(configuration, controller)


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


def _start_munge(folder: Path, daemons: contextlib.ExitStack) -> Path:
    private = folder / "munge"
    private.mkdir(mode=0o700)
    key = private / "key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    for parent in (folder, *folder.parents):  # munged looks whether others could change the way to its socket
        if parent.stat().st_uid == os.getuid() and not parent.stat().st_mode & 0o1000:
            parent.chmod(parent.stat().st_mode & ~0o022 | 0o011)
    private.chmod(0o711)
    socket_file = private / "socket"
    command = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={socket_file}"]
    command += [f"--{name}={private / name}" for name in ("pid-file", "log-file", "seed-file")]
    _start(command, folder, os.environ | {"PATH": _path()}, daemons)
    _wait_for(socket_file.exists, "munged", folder)
    return socket_file


def _start(
    command: list[str], folder: Path, environment: dict[str, str], daemons: contextlib.ExitStack
) -> "subprocess.Popen[bytes]":
    output = (folder / f"{command[0]}.out").open("wb")
    daemons.callback(output.close)
    process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    daemons.callback(_end, process)
    return process


def _end(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_idle(environment: dict[str, str], folder: Path) -> None:
    command = ["sinfo", "-h", "-o", "%T"]

    def idle() -> bool:
        said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout
        return "idle" in said

    _wait_for(idle, "Slurm", folder)


def _wait_for(ready: Callable[[], bool], what: str, folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            said = {file.name: file.read_text(errors="replace")[-500:] for file in folder.glob("*.out")}
            raise UnavailableError(f"{what} did not start in {START_SECONDS} s: {said}")
        time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
