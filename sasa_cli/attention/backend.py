"""What every backend of local attention offers, and how one is chosen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from sasa_cli.attention.problem import Inputs, Problem


@dataclass(frozen=True)
class Backend:
    """One way to compute local attention.

    Attributes:
        name: what ``backend=`` calls it.
        forward: ``(problem, inputs) -> (output, lse)``. ``output`` is ``(B, N, D, H, W)``, in the dtype and the
            memory order of the query (``torch.empty_like``); ``lse`` is the contiguous ``(B, N, H, W)``
            log-sum-exp of the logits, in ``problem.compute_dtype``.
        backward: ``(problem, grad_output, inputs, output, lse) -> gradients``, each in the dtype and the memory
            order of its input, None where the input is None.
        suits: whether ``"auto"`` takes it for this problem.
        supports: None if it can compute this problem, else why not.
        missing: None if it runs on this machine, else what it needs.
    """

    name: str
    forward: Callable[[Problem, Inputs], tuple[Tensor, Tensor]]
    backward: Callable[[Problem, Tensor, Inputs, Tensor, Tensor], Inputs]
    suits: Callable[[Problem], bool]
    supports: Callable[[Problem], str | None] = lambda problem: None
    missing: Callable[[], str | None] = lambda: None

    def refusal(self, problem: Problem) -> str | None:
        """Why it cannot compute this problem here, or None."""
        return self.missing() or self.supports(problem)


def select(problem: Problem, requested: str, backends: Sequence[Backend]) -> Backend:
    """The backend called ``requested``, or for ``"auto"`` the first of ``backends`` that suits the problem.

    Raises:
        ValueError: if no backend has that name, or the one that has cannot compute this problem here.
    """
    if requested == "auto":
        return next(b for b in backends if b.refusal(problem) is None and b.suits(problem))
    by_name = {backend.name: backend for backend in backends}
    if requested not in by_name:
        raise ValueError(f"backend must be auto, {' or '.join(by_name)}, got {requested!r}.")
    if reason := by_name[requested].refusal(problem):
        raise ValueError(f"backend {requested!r} cannot compute this: {reason}.")
    return by_name[requested]
