"""What every backend of local attention offers."""

from collections.abc import Callable
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
            log-sum-exp of the logits, in ``problem.compute_dtype``, for the backward pass of the same backend:
            infinite where that does not need it (not NaN, which never equals itself in PyTorch's checks).
        backward: ``(problem, grad_output, inputs, output, lse) -> gradients``, each in the dtype and the memory
            order of its input, None where the input is None.
        supports: None if it can compute this problem, else why not.
        missing: None if it runs on this machine, else what it needs.
    """

    name: str
    forward: Callable[[Problem, Inputs], tuple[Tensor, Tensor]]
    backward: Callable[[Problem, Tensor, Inputs, Tensor, Tensor], Inputs]
    supports: Callable[[Problem], str | None] = lambda problem: None
    missing: Callable[[], str | None] = lambda: None

    def refusal(self, problem: Problem) -> str | None:
        """Why it cannot compute this problem here, or None."""
        return self.missing() or self.supports(problem)
