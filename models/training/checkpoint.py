"""Checkpoints: one safetensors file, replaced atomically, never a pickle.

Arrays are named by their path in the state; everything else is JSON in the file's metadata.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from models.errors import UserError

NAME = "checkpoint.safetensors"
FORMAT = 2  # 1: before tasks, when a checkpoint's problem had another signature


class CheckpointError(UserError):
    """A checkpoint is missing, damaged, or belongs to something else."""


def write(
    directory: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]
) -> None:
    """Write a checkpoint; a reader sees the old one or the new one, never a part.

    Args:
        directory: Made if it is missing.
        arrays: By name.
        metadata: JSON-able; NaN and infinities are allowed.

    Raises:
        OSError: The disk is full or read-only; the old checkpoint is still whole.
    """
    directory.mkdir(parents=True, exist_ok=True)
    # A copy in C order: safetensors writes buffers as they lie, whatever their strides.
    plain = {name: np.array(array, order="C") for name, array in arrays.items()}
    content = save(plain, metadata={"json": json.dumps(dict(metadata))})
    temporary = directory / f"{NAME}.tmp"
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, directory / NAME)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    handle = os.open(directory, os.O_RDONLY)
    try:  # the rename itself must survive a power cut
        os.fsync(handle)
    finally:
        os.close(handle)


def read(directory: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the metadata of the checkpoint in `directory`.

    Raises:
        CheckpointError: There is none, or it cannot be read.
    """
    path = directory / NAME
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint at {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {})["json"])
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"the checkpoint at {path} is damaged: {error}",
            hint="delete the file; training then starts from the trial's beginning",
        ) from error


def check_origin(
    metadata: Mapping[str, Any], here: Mapping[str, Any], directory: Path
) -> None:
    """Refuse a learner's checkpoint that was saved by a different one.

    Args:
        metadata: Of the checkpoint.
        here: What of it must be equal, by name.
        directory: Where it lies, for the message.

    Raises:
        CheckpointError: It differs in one of these.
    """
    for what, wanted in {"format": FORMAT, **here}.items():
        got = metadata.get(what)
        if what == "format" and got == 1:
            raise CheckpointError(
                f"the checkpoint in {directory} was written by a version before tasks",
                hint="train the trial again: `hpo rerun` repeats it",
            )
        if got != wanted:
            raise CheckpointError(
                f"the checkpoint in {directory} has another {what}: {got}, not {wanted}",
                hint="restore with the configuration, seed and budget it was saved with",
            )


def flatten(tree: Any) -> dict[str, np.ndarray]:
    """The leaves of a pytree as numpy arrays, by path; keys as their raw data."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    raw = {
        jax.tree_util.keystr(path): jax.random.key_data(leaf) if _is_key(leaf) else leaf
        for path, leaf in leaves
    }
    return {name: np.asarray(leaf) for name, leaf in jax.device_get(raw).items()}


def unflatten(template: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """A tree like `template`, on the device, with the leaves of `arrays`.

    Raises:
        CheckpointError: A leaf is missing, too many, or of another shape or type.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(template)
    names = [jax.tree_util.keystr(path) for path, _ in leaves]
    strange = sorted(set(names) ^ set(arrays))
    if strange:
        raise CheckpointError(
            "the checkpoint holds another state: missing or unknown are "
            + ", ".join(strange[:5])
        )
    for name, (_, leaf) in zip(names, leaves, strict=True):
        array = arrays[name]
        wanted = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
        if array.shape != wanted.shape or array.dtype != wanted.dtype:
            raise CheckpointError(
                f"{name} is {array.dtype}{list(array.shape)} in the checkpoint, but "
                f"{wanted.dtype}{list(wanted.shape)} here"
            )
    # At once, which takes a third of the time.
    placed = jax.device_put([arrays[name] for name in names])
    values = [
        jax.random.wrap_key_data(value) if _is_key(leaf) else value
        for value, (_, leaf) in zip(placed, leaves, strict=True)
    ]
    return jax.tree_util.tree_unflatten(structure, values)


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
