"""A trained learner as a folder that needs neither its data nor this project."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from models import exported
from models.errors import UserError
from models.layers.kernels import compiled
from models.training.closed_form import ClosedFormLearner
from models.training.learner import GradientLearner

LEAST = 8
"""Fewest samples of a sequence: below it, compilers must tell cases apart."""
PLATFORMS = ("cpu", "cuda", "tpu")
_RIGID = (TypeError, ValueError, jax.errors.InconclusiveDimensionOperation)
_AGREES = 1e-4
"""Largest error, relative to the largest output, between program and learner."""


def write(
    learner: GradientLearner | ClosedFormLearner,
    folder: Path,
    *,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Write program, description and loader of the best epoch's model into a new folder.

    The program takes and gives physical units, a batch of any size and sequences of any
    length from `LEAST` samples on, where the model can be traced so; what it can is in the
    description. It is held against the learner before it is written. Source:
    `jax.export` (StableHLO with guarantees of compatibility).

    Args:
        learner: A trained one.
        folder: A new folder.
        about: Plain values that the description holds as well.

    Returns:
        The description, as ``model.json`` has it.

    Raises:
        UserError: The learner was solved in closed form or has no task, kernels
            are on, or the program does not compute what the learner does.
    """
    learner = _leaving(learner)
    batch = {n: _single(array) for n, array in _example(learner).items()}
    program, shapes = _traced(learner, batch)
    data = bytes(program.serialize())
    description = {
        "format": exported.FORMAT,
        **about,
        "inputs": {
            n: {"shape": list(shapes[n]), "dtype": str(array.dtype)}
            for n, array in batch.items()
        },
        **_held_against(learner, data, batch),
        "rows": next(iter(shapes.values()))[0],
        "least_samples": LEAST,
        "platforms": list(PLATFORMS),
        "jax": jax.__version__,
        "hash": hashlib.blake2b(data, digest_size=16).hexdigest(),
    }
    folder.mkdir(parents=True)
    (folder / exported.PROGRAM).write_bytes(data)
    text = json.dumps(description, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / exported.ABOUT).write_text(text + "\n", encoding="utf-8")
    shutil.copyfile(exported.__file__, folder / "predictor.py")
    return description


def _leaving(learner: GradientLearner | ClosedFormLearner) -> GradientLearner:
    """The learner, where its model can leave."""
    if isinstance(learner, ClosedFormLearner) or learner.interface is None:
        raise UserError(
            f"a {type(learner).__name__} is solved and predicts in NumPy: it is no program",
            hint="export a trial of another family with `--trial N`",
        )
    if compiled.in_force() != compiled.OFF:
        raise UserError(
            "compiled kernels do not travel, and they are on",
            hint="set HPO_KERNELS=off before JAX is loaded",
        )
    return learner


def _held_against(
    learner: GradientLearner, data: bytes, batch: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """What a program gives, and how far it is from what the learner does."""
    found = export.deserialize(bytearray(data)).call(batch)
    outputs = learner.outputs(batch)[0]
    wanted = {name: np.asarray(outputs[name]) for name in _given(learner)}
    off = max(
        float(np.abs(np.asarray(found[n]) - a).max() / max(np.abs(a).max(), 1e-30))
        for n, a in wanted.items()
    )
    if not off <= _AGREES:
        raise UserError(
            f"the exported program must compute what the model does, but is off by {off:.1e} "
            "of the largest output",
            hint="please report it, with the study",
        )
    kinds = {name: {"dtype": str(array.dtype)} for name, array in wanted.items()}
    return {"outputs": kinds, "agrees_to": off}


def _example(learner: GradientLearner) -> dict[str, np.ndarray]:
    """A batch of prediction as long as a row of validation is."""
    interface = learner.interface
    assert interface is not None, "refused before"
    arrays, role = interface.example(), interface.takes[0]
    batch, _ = interface.batch(arrays)
    surplus = batch[role].shape[1] - learner.valid[0][role].shape[1]
    if surplus > 0:
        length = len(arrays[role]) - surplus
        batch, _ = interface.batch({r: a[:length] for r, a in arrays.items()})
    return batch


def _traced(
    learner: GradientLearner, batch: Mapping[str, np.ndarray]
) -> tuple[export.Exported, dict[str, tuple[Any, ...]]]:
    """The program for shapes as free as the model allows, and these shapes by name.

    A sequence may have any length, a batch any number of rows; where a layer needs a number,
    rows are taken one by one, and then the length is the example's.
    """
    evaluation = learner.runner.engine.evaluation
    best, names = learner.best, _given(learner)
    hyper = learner.at_best().hyper

    def function(batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        found, _ = evaluation.outputs(best.params, best.variables, hyper, batch)
        return {name: jnp.asarray(found[name]) for name in names}

    last: Exception | None = None
    for rows, time in (("b", "t"), ("b", None), (1, "t"), (1, None)):
        shapes = {n: _free(a.shape, rows=rows, time=time) for n, a in batch.items()}
        try:
            traced = export.export(jax.jit(function), platforms=PLATFORMS)(
                _specifications(batch, shapes)
            )
        except _RIGID as error:
            last = error  # a layer that computes with its shapes
            continue
        return traced, shapes
    raise UserError(
        f"the model cannot be traced into a program of its own: {last}",
        hint="export a trial of another family with `--trial N`",
    )


def _free(
    shape: Sequence[int], *, rows: str | int, time: str | None
) -> tuple[str | int, ...]:
    """A shape with letters for what may vary."""
    rest: tuple[str | int, ...] = tuple(shape[1:])
    return (rows, time, *rest[1:]) if time and len(rest) > 1 else (rows, *rest)


def _specifications(
    batch: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[Any, ...]]
) -> dict[str, jax.ShapeDtypeStruct]:
    free = any("t" in shape for shape in shapes.values())
    scope = export.SymbolicScope([f"t >= {LEAST}"] if free else [])
    return {
        name: jax.ShapeDtypeStruct(
            export.symbolic_shape(", ".join(map(str, shape)), scope=scope),
            batch[name].dtype,
        )
        for name, shape in shapes.items()
    }


def _given(learner: GradientLearner) -> tuple[str, ...]:
    assert learner.interface is not None, "refused before"
    return learner.interface.gives


def _single(array: np.ndarray) -> np.ndarray:
    """As the device computes with it."""
    array = np.asarray(array)
    return (
        array.astype(np.float32) if np.issubdtype(array.dtype, np.floating) else array
    )
