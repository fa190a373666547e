"""From images to one batch of uint8 pixels, with the random part decided by one seed.

In-memory images that already have the right size take a vectorised path; it yields the same kind of batch as timm's
transforms, which do the rest one image at a time.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeGuard

import numpy as np
import torch
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from timm.data.transforms_factory import create_transform
from torch import Tensor
from torch.nn import functional as F
from torchvision import transforms

from sasa_cli.data.images import ArrayImages, Images, Indices
from sasa_cli.spec import SMALL_INPUT_LIMIT

CROP_PADDING = 4  # He et al. 2016, section 4.2
RAND_AUGMENT = "rand-m9-mstd0.5-inc1"
RAND_AUGMENT_LIMIT = 9.99  # at timm's own limit of 10 posterize keeps no bit, which Pillow 13 refuses
Augmentation = Literal["none", "crop-flip", "resized-crop", "randaugment"]
Transform = Callable[[Image.Image], Tensor]
MakeBatch = Callable[[Indices, int], Tensor]
"""From places (B,) and a seed to pixels (B, 3, S, S), uint8."""


class ArrayBatches:
    """Batches of an array: whole images, or a random crop and flip of each."""

    def __init__(self, images: ArrayImages, crop_flip: bool) -> None:
        self.pixels = torch.from_numpy(images.pixels)  # (N, 3, S, S)
        self.crop_flip = crop_flip

    def __call__(self, indices: Indices, seed: int) -> Tensor:
        pixels = self.pixels[torch.from_numpy(indices)]  # (B, 3, S, S)
        return random_crop_flip(pixels, torch.Generator().manual_seed(seed)) if self.crop_flip else pixels


def random_crop_flip(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Pad each image of (B, C, S, S) with black, crop it back to S at its own place, flip half of them."""
    batch, _, size, _ = pixels.shape
    padded = F.pad(pixels, (CROP_PADDING,) * 4)  # (B, C, S + 2P, S + 2P)
    windows = padded.unfold(2, size, 1).unfold(3, size, 1)  # (B, C, 2P + 1, 2P + 1, S, S), a view
    top, left = torch.randint(2 * CROP_PADDING + 1, (2, batch), generator=generator)
    flip = torch.rand(batch, generator=generator) < 0.5
    cropped = windows[torch.arange(batch), :, top, left]  # (B, C, S, S)
    return torch.where(flip[:, None, None, None], cropped.flip(-1), cropped)


class TransformedBatches:
    """Batches of any images, through a transform of each."""

    def __init__(self, images: Images, transform: Transform) -> None:
        self.images = images
        self.transform = transform

    def __call__(self, indices: Indices, seed: int) -> Tensor:
        with seeded(seed):
            return torch.stack([self.transform(self.images.image(index)) for index in indices])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the three generators that transforms draw from, and put them back after: the model draws from them too."""
    python_state, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would also seed the GPU
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)


def _fits(images: Images, image_size: int) -> TypeGuard[ArrayImages]:
    """Whether images can be used as they are."""
    return isinstance(images, ArrayImages) and images.pixels.shape[2:] == (image_size, image_size)


def train_batches(images: Images, augmentation: Augmentation, image_size: int) -> MakeBatch:
    """How batches to train on are made, augmented."""
    if _fits(images, image_size) and augmentation in ("none", "crop-flip"):
        return ArrayBatches(images, crop_flip=augmentation == "crop-flip")
    return TransformedBatches(images, _train_transform(augmentation, image_size))


def eval_batches(images: Images, image_size: int) -> MakeBatch:
    """How batches to evaluate on are made: resized, and the centre cropped where large images are files.

    Small ones are taken whole, as they are to train on.
    """
    if _fits(images, image_size):
        return ArrayBatches(images, crop_flip=False)
    whole = isinstance(images, ArrayImages) or image_size <= SMALL_INPUT_LIMIT
    crop_share = 1.0 if whole else None  # None: 0.875, timm's for ImageNet
    return TransformedBatches(images, create_transform(image_size, use_prefetcher=True, crop_pct=crop_share))


def _train_transform(augmentation: Augmentation, image_size: int) -> Transform:
    if augmentation == "crop-flip":
        steps = [
            transforms.Resize(image_size),
            transforms.RandomCrop(image_size, padding=CROP_PADDING),
            transforms.RandomHorizontalFlip(),
            transforms.PILToTensor(),
        ]
    else:
        *steps, pixels = create_transform(
            image_size,
            is_training=True,
            no_aug=augmentation == "none",
            color_jitter=0.0,
            use_prefetcher=True,  # leaves pixels uint8: they are normalised a batch at a time
        ).transforms
        if augmentation == "randaugment":
            limits = {"translate_const": int(0.45 * image_size), "magnitude_max": RAND_AUGMENT_LIMIT}
            steps.append(rand_augment_transform(RAND_AUGMENT, limits))
        steps.append(pixels)
    transform: Transform = transforms.Compose(steps)
    return transform
