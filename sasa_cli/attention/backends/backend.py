"""What every backend of local attention offers."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from sasa_cli.attention.problem import Inputs, Problem, empty_like


@dataclass(frozen=True)
class Backend:
    """One way to compute local attention.

    Attributes:
        name: what ``backend=`` calls it.
        forward: ``(problem, inputs) -> (output, lse)``. ``output`` is ``(B, N, D, H, W)``, in the dtype and the
            memory order of the query (``torch.empty_like``); ``lse`` is the contiguous ``(B, N, H, W)``
            log-sum-exp of the logits, in ``problem.compute_dtype``, for the backward pass of the same backend:
            infinite where that does not need it (not NaN, which never equals itself in PyTorch's checks).
        backward: ``(problem, grad_output, inputs, output, lse, gradients)``; writes the gradient with respect to
            each input into the tensor of the same name in ``gradients``, of the same shape and dtype and any strides,
            None where the input is None.
        supports: None if it can compute this problem, else why not.
        missing: None if it runs on this machine, else what it needs.
    """

    name: str
    forward: Callable[[Problem, Inputs], tuple[Tensor, Tensor]]
    backward: Callable[[Problem, Tensor, Inputs, Tensor, Tensor, Inputs], None]
    supports: Callable[[Problem], str | None] = lambda problem: None
    missing: Callable[[], str | None] = lambda: None

    def refusal(self, problem: Problem) -> str | None:
        """Why it cannot compute this problem here, or None."""
        return self.missing() or self.supports(problem)

    def gradients(self, problem: Problem, grad_output: Tensor, inputs: Inputs, output: Tensor, lse: Tensor) -> Inputs:
        """What `backward` writes, in new tensors."""
        gradients = empty_like(inputs)
        self.backward(problem, grad_output, inputs, output, lse, gradients)
        return gradients
