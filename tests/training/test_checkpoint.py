from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from sasa_cli.models import model_kwargs
from sasa_cli.runs.paths import RunPaths
from sasa_cli.runs.record import RunRecord
from sasa_cli.spec import RunSpec

from .runs import Trainer, tiny, weights


def loaded_by_timm(spec: RunSpec, file: str) -> dict[str, torch.Tensor]:
    model = timm.create_model("sasa_resnet50", num_classes=10, checkpoint_path=file, **model_kwargs(spec.model))
    return dict(model.state_dict())


@pytest.mark.parametrize("name", ["checkpoint", "best"])
def test_timm_loads_the_averaged_weights(finished: tuple[RunSpec, RunPaths, RunRecord], name: str) -> None:
    spec, paths, _ = finished
    file = getattr(paths, name)
    stored, loaded = weights(file), loaded_by_timm(spec, str(file))
    assert all(torch.equal(tensor, stored[f"state_dict_ema.{key}"]) for key, tensor in loaded.items())
    assert not torch.equal(loaded["fc.weight"], stored["state_dict.fc.weight"])
    assert len(stored) == 2 * len(loaded)


def test_timm_loads_the_weights_of_a_run_without_moving_average(train: Trainer) -> None:
    spec = tiny("CCCA", epochs=1)
    train(spec)
    file = train.paths(spec).checkpoint
    stored, loaded = weights(file), loaded_by_timm(spec, str(file))
    assert stored.keys() == {f"state_dict.{key}" for key in loaded}
    assert all(torch.equal(tensor, stored[f"state_dict.{key}"]) for key, tensor in loaded.items())


def test_weights_of_channels_last_training_are_stored_in_one_layout(train: Trainer, tmp_path: Path) -> None:
    """safetensors refuses others: "You are trying to save a non contiguous tensor"."""
    spec = tiny("CCCA", epochs=1, channels_last=True, ema_decay=0.9)
    train(spec)
    stored = weights(train.paths(spec).checkpoint)
    assert any(tensor.dim() == 4 for tensor in stored.values())
    save_file(stored, tmp_path / "weights.safetensors")
    assert load_file(tmp_path / "weights.safetensors").keys() == stored.keys()


def test_best_weights_are_those_of_the_best_epoch(train: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("checkpoint", "session"):
        monkeypatch.setattr(f"sasa_cli.training.{module}.best_row", lambda rows: rows[0])
    spec = tiny(epochs=2)
    train(spec)
    best, last = (
        torch.load(file, weights_only=True) for file in (train.paths(spec).best, train.paths(spec).checkpoint)
    )
    assert (best["epoch"], last["epoch"]) == (1, 2)
    assert not torch.equal(best["state_dict"]["fc.weight"], last["state_dict"]["fc.weight"])
