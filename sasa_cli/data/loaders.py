"""Batches for training and evaluation.

The order of the images and what happens to each depend on (seed, epoch) alone: not on the number of loader processes,
not on epochs that ran before. A run that is resumed at an epoch sees the batches that it would have seen anyway.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from timm.data.loader import PrefetchLoader
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from sasa_cli.data.augmentation import MakeBatch, eval_batches, train_batches
from sasa_cli.data.images import Images, Indices
from sasa_cli.data.splits import Splits
from sasa_cli.errors import DataError
from sasa_cli.spec import Recipe


class BatchKey(NamedTuple):
    """All that a batch is made from, so that any process makes the same one."""

    indices: Indices
    seed: int


class EpochOrder(Sampler[BatchKey]):
    """The batches of one epoch: in a new random order each epoch, or in order."""

    def __init__(self, count: int, batch_size: int, seed: int | None) -> None:
        self.count = count
        self.batch_size = batch_size
        self.seed = seed
        """None: in order, and the last batch may be short."""
        self.epoch = 0

    def __len__(self) -> int:
        full, rest = divmod(self.count, self.batch_size)
        # A short batch has noisy statistics; it is trained on only where it is all there is.
        drop_last = self.seed is not None and full > 0
        return full + (rest > 0 and not drop_last)

    def __iter__(self) -> Iterator[BatchKey]:
        order = np.arange(self.count)
        batch_seeds = [0] * len(self)
        if self.seed is not None:
            order_seed, *batch_seeds = (
                np.random.SeedSequence((self.seed, self.epoch)).generate_state(1 + len(self)).tolist()
            )
            order = np.random.default_rng(order_seed).permutation(self.count)
        for step, batch_seed in enumerate(batch_seeds):
            yield BatchKey(order[step * self.batch_size : (step + 1) * self.batch_size], batch_seed)


class Batches(Dataset[tuple[Tensor, Tensor]]):
    """Pixels (B, 3, S, S) uint8 and labels (B,) int64 by `BatchKey`."""

    def __init__(self, images: Images, make: MakeBatch) -> None:
        self.labels = torch.from_numpy(images.labels)
        self.make = make

    def __getitem__(self, key: BatchKey) -> tuple[Tensor, Tensor]:
        return self.make(key.indices, key.seed), self.labels[torch.from_numpy(key.indices)]


@dataclass(frozen=True)
class Place:
    """Where batches go."""

    device: torch.device
    pin_memory: bool = False
    """Whether the device copies faster from page-locked memory."""


class Loader:
    """Iterates over (images, labels): (B, 3, S, S) float32, normalised, and (B,) int64, both on the device."""

    def __init__(self, batches: Batches, order: EpochOrder, splits: Splits, workers: int, place: Place) -> None:
        self._order = order
        self._loader = PrefetchLoader(
            DataLoader(
                batches,
                batch_size=None,  # an item is a batch already
                sampler=order,
                num_workers=workers,
                persistent_workers=workers > 0,
                pin_memory=place.pin_memory,
                generator=torch.Generator(),  # or each epoch would draw from the model's
            ),
            mean=splits.mean,
            std=splits.std,
            device=place.device,
        )

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._order)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches come next; without effect in evaluation."""
        self._order.epoch = epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Raises `DataError`, naming the image, where one cannot be read."""
        try:
            yield from self._loader
        except DataError as error:
            # From a loader process the message is a whole traceback, which ends in the real message.
            raise DataError(str(error).strip().rpartition(f"{DataError.__name__}: ")[2]) from error


def train_loader(splits: Splits, recipe: Recipe, *, image_size: int, seed: int, place: Place) -> Loader:
    """Augmented batches of the train images, all of `recipe.batch_size` (or one smaller, where there are fewer)."""
    batches = Batches(splits.train, train_batches(splits.train, recipe.augmentation, image_size))
    order = EpochOrder(len(splits.train), recipe.batch_size, seed)
    return Loader(batches, order, splits, recipe.workers, place)


def eval_loader(
    splits: Splits,
    split: Literal["val", "test"],
    recipe: Recipe,
    *,
    image_size: int,
    place: Place,
) -> Loader:
    """Every image of `split` once, in order."""
    images = splits.val if split == "val" else splits.test
    order = EpochOrder(len(images), recipe.batch_size, seed=None)
    return Loader(Batches(images, eval_batches(images, image_size)), order, splits, recipe.workers, place)
