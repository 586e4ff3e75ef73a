"""A trained learner as a folder that needs neither its data nor this project."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
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
_Function = Callable[[dict[str, jax.Array]], dict[str, jax.Array]]
_AGREES = 1e-4
"""Largest error, relative to the largest output, between program and learner."""


def write(
    learner: GradientLearner | ClosedFormLearner,
    folder: Path,
    *,
    about: Mapping[str, Any],
    form: exported.Form = "stablehlo",
) -> dict[str, Any]:
    """Write program, description and loader of the best epoch's model into a new folder.

    The program takes and gives physical units, a batch of any size and sequences of any
    length from `LEAST` samples on, where the model can be traced so; what it can is in the
    description. It is held against the learner before it is written. Sources:
    `jax.export` (StableHLO with guarantees of compatibility), `jax2onnx`.

    Args:
        learner: A trained one.
        folder: A new folder.
        about: Plain values that the description holds as well.
        form: ``stablehlo``, which JAX loads, or ``onnx``.

    Returns:
        The description, as ``model.json`` has it.

    Raises:
        UserError: The learner was solved in closed form or has no task, kernels
            are on, the program does not compute what the learner does, or what writes such
            programs is not installed.
    """
    learner = _leaving(learner)
    batch = {n: _single(array) for n, array in _example(learner).items()}
    to_onnx = form == "onnx"
    if to_onnx:
        from models.exporting_onnx import convert, require_converter

        require_converter()
    else:
        convert = _stablehlo
    name = exported.ONNX if to_onnx else exported.STABLEHLO
    data, shapes, found = _program(learner, batch, name=name, convert=convert)
    description = {
        "format": exported.FORMAT,
        "program": name,
        **about,
        "inputs": {
            n: {"shape": list(shapes[n]), "dtype": str(array.dtype)}
            for n, array in batch.items()
        },
        **found,
        "rows": next(iter(shapes.values()))[0],
        "least_samples": LEAST,
        **({} if to_onnx else {"platforms": list(PLATFORMS)}),
        "jax": jax.__version__,
        "hash": hashlib.blake2b(data, digest_size=16).hexdigest(),
    }
    folder.mkdir(parents=True)
    (folder / name).write_bytes(data)
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
    learner: GradientLearner,
    program: exported.Program,
    batch: Mapping[str, np.ndarray],
    shapes: Mapping[str, tuple[Any, ...]],
) -> dict[str, Any]:
    """What a program gives, and how far it is from what the learner does.

    It is asked for the batch that it was traced with, for one row more where it takes any
    number of them, and for a shorter one where it takes any length: a converter may have
    written down a number that it should not.

    Raises:
        UserError: It is too far.
    """
    off, kinds = 0.0, {}
    for arrays in _probes(batch, shapes):
        found, outputs = program(arrays), learner.outputs(arrays)[0]
        for name in _given(learner):
            wanted, got = np.asarray(outputs[name]), np.asarray(found[name])
            if got.shape != wanted.shape:
                raise UserError(
                    f"the exported program must give `{name}` {wanted.shape}, got {got.shape}",
                    hint="please report it, with the study",
                )
            scale = max(float(np.abs(wanted).max()), 1e-30)
            # Unlike `max`, this keeps NaN, which agrees with nothing.
            off = float(np.maximum(off, np.abs(got - wanted).max() / scale))
            kinds[name] = {"dtype": str(wanted.dtype)}
    if not off <= _AGREES:
        raise UserError(
            f"the exported program must compute what the model does, but is off by {off:.1e} "
            "of the largest output",
            hint="please report it, with the study",
        )
    return {"outputs": kinds, "agrees_to": off}


def _probes(
    batch: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[Any, ...]]
) -> list[dict[str, np.ndarray]]:
    """Batches as different as the shapes allow."""
    probes = [dict(batch)]
    free = {
        axis for shape in shapes.values() for axis in shape if isinstance(axis, str)
    }
    if "b" in free:
        probes.append(
            {
                n: np.concatenate([a, -a if a.dtype.kind == "f" else a])
                for n, a in batch.items()
            }
        )
    if "t" in free:
        length = next(a.shape[1] for n, a in batch.items() if "t" in shapes[n])
        less = max(LEAST, length - max(1, length // 8))
        probes.append(
            {n: a[:, :less] if "t" in shapes[n] else a for n, a in batch.items()}
        )
    return probes


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


def _program(
    learner: GradientLearner,
    batch: Mapping[str, np.ndarray],
    *,
    name: str,
    convert: Callable[[_Function, Mapping[str, jax.ShapeDtypeStruct]], bytes],
) -> tuple[bytes, dict[str, tuple[Any, ...]], dict[str, Any]]:
    """The program for shapes as free as the model allows, these shapes, and what it gives.

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
            data = convert(function, _specifications(batch, shapes))
            program = exported.program_of(name, data)
            return data, shapes, _held_against(learner, program, batch, shapes)
        except (UserError, *_RIGID) as error:
            last = error  # a layer that computes with its shapes
    if isinstance(last, UserError):
        raise last
    first = "`--to stablehlo` may; else " if name == exported.ONNX else ""
    raise UserError(
        f"the model cannot be traced into a program of its own: {last}",
        hint=f"{first}export a trial of another family with `--trial N`",
    )


def _stablehlo(function: _Function, batch: Mapping[str, jax.ShapeDtypeStruct]) -> bytes:
    traced = export.export(jax.jit(function), platforms=PLATFORMS)(dict(batch))
    return bytes(traced.serialize())


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
