"""Pure functions of a batch: transforms run everywhere, augmentations in training only."""

from __future__ import annotations

from models.transforms.batch import BatchTransform, Transform, apply_transforms
from models.transforms.lengths import end_at_random, truncate_schedule
from models.transforms.noise import add_bias, add_noise, add_varying_noise
from models.transforms.rotation import quaternion_augmentation
from models.transforms.schedules import flat_cosine, linear, ramp

__all__ = [
    "BatchTransform",
    "Transform",
    "add_bias",
    "add_noise",
    "add_varying_noise",
    "apply_transforms",
    "end_at_random",
    "flat_cosine",
    "linear",
    "quaternion_augmentation",
    "ramp",
    "truncate_schedule",
]
