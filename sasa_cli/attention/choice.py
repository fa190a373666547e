"""Which backend computes a call: one table, with the measurement behind each of its lines."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sasa_cli.attention.backends import BACKENDS
from sasa_cli.attention.backends.backend import Backend
from sasa_cli.attention.problem import Problem

# H * W of the largest map that `sdpa` is faster than `halo` for.
SMALL_MAP = 14 * 14


def _any(problem: Problem) -> bool:
    return True


def _few_windows(problem: Problem) -> bool:
    return problem.pixels <= 4 * problem.spatial_extent**2


def _small(problem: Problem) -> bool:
    return problem.pixels <= SMALL_MAP


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        backend: its name.
        device: the type of device that the line is for; None for all.
        holds: the calls that the line is for.
        evidence: what speaks for this backend there. Forward and backward of the operator unless it says otherwise.
        measured_on: the type of device that this was measured on; on others the line is an estimate.
    """

    backend: str
    device: str | None
    holds: Callable[[Problem], bool]
    evidence: str
    measured_on: str

    def fits(self, problem: Problem) -> bool:
        """Whether the line is for this call."""
        return self.device in (None, problem.device) and self.holds(problem)


# In order of preference; the last line is for every call. Milliseconds for layers of ResNet-50 at 224 px.
TABLE: tuple[Line, ...] = (
    Line(
        "cpu",
        "cpu",
        _any,
        "measured, 2 cores with AVX-512, float32, k = 7, batch 16 (results/published/bench): 14, 7, 4, 2 ms at 56, 28, "
        "14 and 7 px, against 184, 110, 66 and 44 ms of shift, and 40 and 9 ms of dense at 14 and 7 px",
        "cpu",
    ),
    Line(
        "triton",
        "cuda",
        _any,
        "measured on an H200, 2026-11-26 (torch 2.11, Triton 3.6), bfloat16, k = 7, batch 128, device time: 2.7 ms for "
        "64 channels at 56 px, 1.8 for 128 at 28 px and 1.1 for 256 at 14 px; sdpa 26 and 4.8 ms at 28 and 14 px, halo "
        "51, 16 and 6.2 ms; faster than both at k = 3 and 11, too",
        "cuda",
    ),
    Line("sdpa", "cuda", _small, "measured there: 4.8 ms for 256 channels at 14 px, against 6.2 ms of halo", "cuda"),
    Line(
        "halo",
        "cuda",
        _any,
        "measured there: 16 ms for 128 channels at 28 px, against 26 of sdpa and 48 of shift",
        "cuda",
    ),
    Line(
        "dense",
        None,
        _few_windows,
        "measured on 2 cores, float32, k = 3 to 11: shift overtakes where the map has more than about four windows of "
        "pixels; at k = 7 and 14 px 48 against 163 ms",
        "cpu",
    ),
    Line(
        "shift",
        None,
        _any,
        "measured on 2 cores, float32, k = 7, batch 16: 486 and 188 ms at 56 and 28 px, the best without a compiler, "
        "against 4147 and 1546 ms of the unfold formulation",
        "cpu",
    ),
)


@dataclass(frozen=True)
class Choice:
    """How a call was decided.

    Attributes:
        backend: what computes it.
        refused: the backends that the table prefers, and why they do not.
    """

    backend: Backend
    refused: dict[str, str]


def candidates(
    problem: Problem, backends: Sequence[Backend] | None = None, table: Sequence[Line] = TABLE
) -> Iterator[Backend]:
    """The backends that the table has for ``problem``, the preferred one first, whether they can compute it or not."""
    by_name = {backend.name: backend for backend in backends or BACKENDS}
    return (by_name[line.backend] for line in table if line.fits(problem))


def decide(
    problem: Problem, requested: str, backends: Sequence[Backend] | None = None, table: Sequence[Line] = TABLE
) -> Choice:
    """The backend called ``requested``, or for ``"auto"`` the first that the table has and that can compute it.

    Raises:
        ValueError: if no backend has that name, or the one that has cannot compute this problem here.
    """
    if requested == "auto":
        refused: dict[str, str] = {}
        for backend in candidates(problem, backends, table):
            reason = backend.refusal(problem)
            if reason is None:
                return Choice(backend, refused)
            refused[backend.name] = reason
        raise ValueError(f"no backend can compute this: {refused}.")
    by_name = {backend.name: backend for backend in backends or BACKENDS}
    if requested not in by_name:
        raise ValueError(f"backend must be auto, {' or '.join(by_name)}, got {requested!r}.")
    if reason := by_name[requested].refusal(problem):
        raise ValueError(f"backend {requested!r} cannot compute this: {reason}.")
    return Choice(by_name[requested], {})


def estimate_behind(problem: Problem) -> str | None:
    """What to know of the choice of ``"auto"`` for ``problem`` where nobody has measured it there; else None."""
    chosen = decide(problem, "auto").backend.name
    line = next(line for line in TABLE if line.backend == chosen and line.fits(problem))
    if line.measured_on == problem.device:
        return None
    return f"backend {chosen!r} is an estimate on {problem.device}: it was chosen by times on {line.measured_on}"


def known_backends() -> list[str]:
    """Names of all backends, whether they run on this machine or not."""
    return [backend.name for backend in BACKENDS]


def available_backends() -> list[str]:
    """Names of the backends that run on this machine."""
    return [backend.name for backend in BACKENDS if backend.missing() is None]


def suitable_backends(problem: Problem) -> list[str]:
    """Names of the backends that ``"auto"`` would take for ``problem`` here, the preferred one first."""
    return [backend.name for backend in candidates(problem) if backend.refusal(problem) is None]


def choose_backend(problem: Problem, backend: str = "auto") -> str:
    """The name of the backend that `local_attention` uses for ``problem`` with this ``backend`` argument.

    Raises:
        ValueError: if ``backend`` is unknown or cannot compute ``problem``; the message says why.
    """
    return decide(problem, backend).backend.name


def refused_backends(problem: Problem, backend: str = "auto") -> dict[str, str]:
    """The backends that ``"auto"`` prefers to `choose_backend`'s, and why they cannot compute ``problem`` here.

    Empty where ``backend`` names one. Raises `ValueError` like `choose_backend`.
    """
    return decide(problem, backend).refused
