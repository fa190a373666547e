from typing import Any

import pytest
import torch
from timm.optim import list_optimizers
from torch import nn

from sasa_cli.errors import SpecError
from sasa_cli.spec import Recipe
from sasa_cli.training.checks import check_machine, check_spec
from sasa_cli.training.optimization import Objective, Precision, create_optimizer, create_schedule

from .runs import tiny

CPU = torch.device("cpu")
STEPS = 10


def learning_rates(**recipe: Any) -> list[float]:
    """The learning rate of each update of 4 epochs of 10."""
    settings = Recipe(**{"epochs": 4, "lr": 1.0} | recipe)
    optimizer = create_optimizer(nn.Linear(2, 2), settings)
    schedule = create_schedule(optimizer, settings, STEPS)
    rates = []
    for update in range(4 * STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        schedule.step_update(update + 1)
    return rates


def test_cosine_falls_from_lr_to_min_lr() -> None:
    rates = learning_rates(min_lr=0.1)
    assert rates[0] == 1
    assert rates[20] == pytest.approx(0.55)
    assert rates == sorted(rates, reverse=True)
    assert 0.1 < rates[-1] < 0.11


def test_warm_up_is_linear_and_the_first_update_has_its_share() -> None:
    rates = learning_rates(warmup_epochs=1, schedule="constant")
    assert rates[:10] == pytest.approx([0.1 + 0.09 * step for step in range(10)])
    assert rates[10:] == [1.0] * 30


@pytest.mark.parametrize("batch_size", [64, 256])
def test_lr_is_scaled_from_the_batch_size_that_it_is_meant_for(batch_size: int) -> None:
    recipe = tiny(lr=1.6, lr_batch_size=4096, batch_size=batch_size).recipe
    assert recipe.lr == pytest.approx(1.6 * batch_size / 4096)
    optimizer = create_optimizer(nn.Linear(2, 2), recipe)
    create_schedule(optimizer, recipe, STEPS)
    assert {group["lr"] for group in optimizer.param_groups} == {recipe.lr}


def test_steps_divide_by_ten() -> None:
    rates = learning_rates(schedule="step", decay_epochs=2)
    assert rates == pytest.approx([1.0] * 20 + [0.1] * 20)


def test_weight_decay_leaves_out_batch_norm_and_biases() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    decays = {
        id(parameter): group["weight_decay"]
        for group in create_optimizer(model, Recipe(weight_decay=0.01)).param_groups
        for parameter in group["params"]
    }
    decayed = {name for name, parameter in model.named_parameters() if decays[id(parameter)] == 0.01}
    assert decayed == {"0.weight", "2.weight"}
    assert set(decays.values()) == {0.01, 0.0}


def test_momentum_and_name_reach_the_optimizer() -> None:
    optimizer = create_optimizer(nn.Linear(2, 2), Recipe(momentum=0.8))
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.defaults["momentum"] == 0.8
    assert optimizer.defaults["nesterov"]


@pytest.mark.parametrize("name", list_optimizers(exclude_filters=["kron*"]))  # kron is compiled: 10 s
def test_an_optimizer_of_timm_is_refused_or_updates(name: str) -> None:
    spec = tiny(optimizer=name, lr=0.01)
    try:
        check_spec(spec)
        check_machine(spec, CPU)
    except SpecError:
        assert name.startswith(("apex", "bnb", "fused")) or name == "adahessian"
        return
    model = nn.Linear(3, 2)
    before = model.weight.detach().clone()
    optimizer = create_optimizer(model, spec.recipe)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.ones(4, 3)).square().sum().backward()
        optimizer.step()
    assert not torch.equal(model.weight, before)


def objective(model: nn.Module, **recipe: Any) -> Objective:
    settings = Recipe(**recipe)
    return Objective.of(settings, model, 5, Precision.of(settings, CPU))


def test_label_smoothing_is_part_of_the_loss() -> None:
    logits, labels = torch.randn(8, 5), torch.arange(8) % 5
    loss = objective(nn.Identity(), label_smoothing=0.1)(logits, labels)
    assert loss.item() == pytest.approx(nn.functional.cross_entropy(logits, labels, label_smoothing=0.1).item())


def test_mixup_pairs_first_with_last() -> None:
    images = torch.eye(4)[:, None, None, :].repeat(1, 3, 1, 1)  # (B, 3, 1, 4): image n is 1 in column n
    seen: list[torch.Tensor] = []

    def network(x: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return torch.zeros(4, 5)

    mixing = objective(nn.Identity(), mixup_alpha=1.0)
    Objective(network, mixing.criterion, mixing.mixup, mixing.precision)(images.clone(), torch.arange(4))
    share = seen[0][0, 0, 0, 0].item()
    assert 0 < share < 1
    assert torch.allclose(seen[0], share * images + (1 - share) * images.flip(0))


def test_bf16_computes_in_bf16_and_gives_float32() -> None:
    settings = Recipe(amp="bf16")
    inside: list[torch.dtype] = []
    model = nn.Linear(4, 2)
    model.register_forward_hook(lambda module, arguments, output: inside.append(output.dtype))
    logits = Precision.of(settings, CPU).run(model, torch.randn(1, 2, 3, 4))
    assert inside == [torch.bfloat16]
    assert logits.dtype == torch.float32


def test_channels_last_reaches_the_network() -> None:
    seen: list[bool] = []

    def network(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.is_contiguous(memory_format=torch.channels_last))
        return x

    for channels_last in (True, False):
        Precision.of(Recipe(channels_last=channels_last), CPU).run(network, torch.randn(2, 3, 4, 5))
    assert seen == [True, False]
