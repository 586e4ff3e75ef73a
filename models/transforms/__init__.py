"""Pure functions of a batch: transforms run everywhere, augmentations in training only."""

from __future__ import annotations

from models.transforms.batch import BatchTransform, Transform, apply_transforms
from models.transforms.noise import add_noise

__all__ = ["BatchTransform", "Transform", "add_noise", "apply_transforms"]
