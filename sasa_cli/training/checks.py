"""What can be refused before anything is read or trained: everywhere, or on the machine that trains."""

import torch
from timm.optim import get_optimizer_class, get_optimizer_info, list_optimizers

from sasa_cli.attention import Problem, available_backends, choose_backend, known_backends
from sasa_cli.errors import SpecError, nearest
from sasa_cli.models import attention_problems
from sasa_cli.spec import Recipe, RunSpec
from sasa_cli.training.devices import check_precision
from sasa_cli.training.optimization import AMP_DTYPES, mixes_images

LOOKAHEAD = "lookahead_"  # before the name of any optimizer


def check_spec(spec: RunSpec) -> None:
    """Refuse what can be trained nowhere. Raises `SpecError`."""
    _check_backend_exists(spec.model.attention.backend)
    _check_optimizer_exists(spec.recipe.optimizer)
    check_pairs(spec.recipe, spec.recipe.batch_size)


def check_machine(spec: RunSpec, device: torch.device) -> None:
    """Refuse what cannot be trained on this device of this machine. Raises `SpecError`."""
    _check_backend(spec, device)
    _check_optimizer(spec.recipe.optimizer)
    check_precision(spec.recipe.amp, device)


def check_pairs(recipe: Recipe, batch_size: int) -> None:
    """Refuse to pair the images of an odd batch. Raises `SpecError`."""
    if mixes_images(recipe) and batch_size % 2:
        raise SpecError(
            f"recipe.batch_size: batches of {batch_size} images are odd; allowed are even ones, because mixup and "
            "cutmix pair the images of a batch"
        )


def _check_backend_exists(name: str) -> None:
    known = ["auto", *known_backends()]
    if name not in known:
        raise SpecError(
            f"model.attention.backend: {name!r} is none{nearest(name, known)}; allowed are {', '.join(known)}"
        )


def _check_backend(spec: RunSpec, device: torch.device) -> None:
    name = spec.model.attention.backend
    if name == "auto":
        return
    allowed = ["auto", *available_backends()]
    if name not in allowed:
        raise SpecError(
            f"model.attention.backend: {name!r} does not run here{nearest(name, allowed)}; "
            f"allowed are {', '.join(allowed)}"
        )
    for layer, problem in run_problems(spec, device).items():
        try:
            choose_backend(problem, name)
        except ValueError as error:
            raise SpecError(f"model.attention.backend: {layer}: {error}") from error


def run_problems(spec: RunSpec, device: torch.device) -> dict[str, Problem]:
    """What each attention layer will ask for in training, by the layer's name."""
    return attention_problems(
        spec.model,
        spec.data.image_size,
        batch=spec.recipe.batch_size,
        dtype=AMP_DTYPES[spec.recipe.amp],
        device=device.type,
    )


def _check_optimizer_exists(name: str) -> None:
    base = name.lower().removeprefix(LOOKAHEAD)
    known = [str(name) for name in list_optimizers()]
    if base not in known:
        raise SpecError(
            f"recipe.optimizer: {name!r} is no optimizer of timm{nearest(base, known)}; "
            f"allowed are {', '.join(known)}, each also after {LOOKAHEAD}"
        )
    if get_optimizer_info(base).second_order:
        raise SpecError(f"recipe.optimizer: {name!r} needs second derivatives, which local attention does not have")


def _check_optimizer(name: str) -> None:
    try:
        get_optimizer_class(name.lower().removeprefix(LOOKAHEAD))
    except (AssertionError, ImportError) as error:  # how timm says that apex, bitsandbytes or CUDA is missing
        raise SpecError(f"recipe.optimizer: {name!r} does not run here: {error}") from error
