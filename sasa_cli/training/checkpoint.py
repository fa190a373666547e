"""What has to survive the end of a process: weights, optimizer and the epochs so far.

`checkpoint.pt` and `best.pt` keep the weights under `state_dict` and their moving average under `state_dict_ema`,
where timm looks for them, so that `timm.create_model(..., checkpoint_path=...)` reads both. Files are read without
unpickling objects. No random state is kept: each epoch is seeded anew from the run's seed.
"""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from timm.scheduler.scheduler import Scheduler
from timm.utils import ModelEmaV3, NativeScaler
from torch import Tensor, nn
from torch.optim import Optimizer

from sasa_cli.errors import RunError
from sasa_cli.runs.files import atomic_path
from sasa_cli.runs.paths import RunPaths
from sasa_cli.runs.record import Origin
from sasa_cli.training.progress import EpochRow, best_row


@dataclass
class TrainingState:
    """All that changes while a run trains."""

    model: nn.Module
    optimizer: Optimizer
    schedule: Scheduler
    scaler: NativeScaler | None = None
    """Of the loss, for fp16."""
    ema: ModelEmaV3 | None = None
    rows: list[EpochRow] = field(default_factory=list)
    """The epochs that are done."""

    def weights(self) -> dict[str, Any]:
        """The weights, as timm stores them."""
        weights = {"state_dict": _contiguous(self.model)}
        if self.ema is not None:
            weights["state_dict_ema"] = _contiguous(self.ema.module)
        return weights

    def load_weights(self, stored: dict[str, Any]) -> None:
        """Take over what `weights` gave."""
        self.model.load_state_dict(stored["state_dict"])
        if self.ema is not None:
            self.ema.module.load_state_dict(stored["state_dict_ema"])


def _contiguous(model: nn.Module) -> dict[str, Tensor]:
    """Its weights in one layout, whichever it trains in: safetensors, for one, takes no other."""
    return {name: tensor.contiguous() for name, tensor in model.state_dict().items()}


def save_epoch(paths: RunPaths, run_id: str, state: TrainingState, origin: Origin) -> None:
    """Write `checkpoint.pt`, from which `load_checkpoint` goes on, and `best.pt` where the last epoch is the best.

    The two agree whenever the process dies: new best weights wait under another name until the checkpoint that calls
    them the best is written.

    Raises:
        RunError: a file cannot be written; the earlier ones are kept.
    """
    is_best = best_row(state.rows) is state.rows[-1]
    if is_best:
        _save(paths.next_best, {"run_id": run_id, "epoch": len(state.rows), **state.weights()})
    content = {
        "run_id": run_id,
        "epoch": len(state.rows),
        "origin": origin.model_dump(mode="json"),
        "rows": [row.model_dump() for row in state.rows],
        "optimizer": state.optimizer.state_dict(),
        **state.weights(),
    }
    if state.scaler is not None:
        content[NativeScaler.state_dict_key] = state.scaler.state_dict()
    _save(paths.checkpoint, content)
    if is_best:
        _accept_next_best(paths)


def settle_best(paths: RunPaths, run_id: str, rows: list[EpochRow]) -> None:
    """What a process that died left waiting becomes `best.pt` where it is of the best of `rows`, else is removed.

    Raises:
        RunError: the files cannot be read or changed.
    """
    if not paths.next_best.exists():
        return
    epoch = _load(paths.next_best, run_id).get("epoch")
    if rows and best_row(rows).epoch == epoch:
        _accept_next_best(paths)
        return
    try:
        paths.next_best.unlink()
    except OSError as error:
        raise RunError(f"{paths.next_best}: cannot be removed: {error.strerror}") from error


def _accept_next_best(paths: RunPaths) -> None:
    try:
        paths.next_best.replace(paths.best)
    except OSError as error:
        raise RunError(f"{paths.next_best}: cannot become {paths.best.name}: {error.strerror}") from error


def load_checkpoint(paths: RunPaths, run_id: str, state: TrainingState, steps: int) -> Origin | None:
    """Bring `state` to where the last session saved it; without a checkpoint it stays as it is.

    Gives what the weights came from; None without a checkpoint, and for one of an earlier version, which does not say.

    Args:
        paths: Where the run lies.
        run_id: What the checkpoint must belong to.
        state: Newly built from the same spec.
        steps: Updates in an epoch.

    Raises:
        RunError: the file is broken or belongs to another run.
    """
    if not paths.checkpoint.exists():
        return None
    content = _load(paths.checkpoint, run_id)
    try:
        state.load_weights(content)
        state.optimizer.load_state_dict(content["optimizer"])
        if state.scaler is not None:
            state.scaler.load_state_dict(content[NativeScaler.state_dict_key])
        state.rows = [EpochRow.model_validate(row) for row in content["rows"]]
        origin = Origin.model_validate(content["origin"]) if "origin" in content else None
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise _unreadable(paths.checkpoint, error) from error
    state.schedule.step_update(len(state.rows) * steps)
    return origin


def load_best(paths: RunPaths, run_id: str, state: TrainingState, epoch: int) -> None:
    """Take the weights of `best.pt`. Raises `RunError` where it is broken or holds another epoch than `epoch`."""
    content = _load(paths.best, run_id)
    if content.get("epoch") != epoch:
        raise RunError(
            f"{paths.best}: holds epoch {content.get('epoch')}, but epoch {epoch} is the best; start anew with --fresh"
        )
    try:
        state.load_weights(content)
    except (KeyError, RuntimeError) as error:
        raise _unreadable(paths.best, error) from error


def _save(file: Path, content: dict[str, Any]) -> None:
    # Through memory, because torch hides the system's reason (disk full) when it writes to a file itself.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with atomic_path(file) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def _load(file: Path, run_id: str) -> dict[str, Any]:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        stored_id = content["run_id"]
    except Exception as error:  # broken files raise anything, from EOFError to the pickle machine's KeyError
        raise _unreadable(file, error) from error
    if stored_id != run_id:
        raise RunError(f"{file}: belongs to run {stored_id}, not to {run_id}; start anew with --fresh")
    result: dict[str, Any] = content
    return result


def _unreadable(file: Path, error: Exception) -> RunError:
    reason = str(error).strip().partition("\n")[0]
    return RunError(f"{file}: cannot be read ({type(error).__name__}: {reason}); start anew with --fresh")
