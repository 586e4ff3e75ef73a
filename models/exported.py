"""A model that has left the house: a folder, `numpy` and `jax` are all that it needs.

`hpo export RUN --to stablehlo` writes a copy of this file beside the program (`--to onnx` as well,
whose program needs `onnxruntime` in the place of `jax`)::

    import sys; sys.path.insert(0, "my_model")
    from predictor import load

    model = load("my_model")
    y = model(u)  # u [T, n_u], y [T, n_y], in physical units; model(u, y_init) where y is known

Without this file the program alone takes and gives arrays by name, as ``model.json`` says::

    import jax, pathlib
    program = jax.export.deserialize(pathlib.Path("my_model/program.jax").read_bytes())
    y = program.call({"u": u[None].astype("float32")})["y"][0]

or, of ONNX::

    program = onnxruntime.InferenceSession("my_model/model.onnx")
    y = program.run(["predicted.y"], {"u": u[None].astype("float32")})[0][0]
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

STABLEHLO, ONNX = "program.jax", "model.onnx"
ABOUT, FORMAT = "model.json", 1
PREDICTED = "predicted."
"""Before the name of an output of ONNX, where an input may bear the same."""
Form = Literal["stablehlo", "onnx"]
Program = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]


def program_of(name: str, data: bytes) -> Program:
    """What computes a batch's outputs, by name.

    Args:
        name: The program's file.
        data: What it holds.

    Raises:
        ValueError: What it needs is not installed, or cannot load it.
    """
    return _onnx(data) if name == ONNX else _stablehlo(data)


def _stablehlo(data: bytes) -> Program:
    import jax
    from jax import export

    program = export.deserialize(bytearray(data))
    return lambda batch: jax.device_get(dict(program.call(dict(batch))))


def _onnx(data: bytes) -> Program:
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(
            f"an ONNX program needs onnxruntime: {error}; install it"
        ) from error
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4  # it tells of every constant that it folds
    providers = onnxruntime.get_available_providers()
    try:
        session = onnxruntime.InferenceSession(data, settings, providers=providers)
    except Exception as error:  # its errors have no class in common
        raise ValueError(f"onnxruntime cannot load the program: {error}") from error
    names = [output.name.removeprefix(PREDICTED) for output in session.get_outputs()]

    def program(batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            found = session.run(None, dict(batch))
        except Exception as error:
            raise ValueError(f"onnxruntime cannot run the program: {error}") from error
        return dict(zip(names, found, strict=True))

    return program


class Predictor:
    """A trained model, called as `identibench` calls one: ``model(u, y_init, attrs)``.

    Args:
        folder: Of an export.

    Attributes:
        about: What ``model.json`` says: task, channels, units, normalisation, configuration.

    Raises:
        ValueError: A file is missing, cut short, or of another version, or what its program
            needs is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        place = Path(folder)
        try:
            self.about: Mapping[str, Any] = json.loads(
                (place / ABOUT).read_text("utf-8")
            )
            name = self.about.get("program", STABLEHLO)
            data = (place / name).read_bytes()
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{place} must hold {ABOUT} and its program, whole: {error}; export the "
                "model again"
            ) from error
        if self.about.get("format") != FORMAT:
            raise ValueError(
                f"{place} must be of format {FORMAT}, got {self.about.get('format')}; use "
                "the predictor.py that lies beside it"
            )
        found = hashlib.blake2b(data, digest_size=16).hexdigest()
        if found != self.about["hash"]:
            raise ValueError(
                f"{place / name} must have the hash {self.about['hash']} that {ABOUT} "
                f"names, got {found} of {len(data)} bytes; export the model again"
            )
        self._program = program_of(name, data)

    def __call__(
        self,
        u: np.ndarray,
        y_init: np.ndarray | None = None,
        attrs: Mapping[str, Any] | None = None,
    ) -> np.ndarray:
        """Predict the outputs of a record, in physical units.

        Args:
            u: Inputs ``[T, n_u]``.
            y_init: The first outputs ``[K, n_y]``, for a task that gives them; a simulation
                looks at none.
            attrs: Not used: what a model knows of a file it was trained with.

        Returns:
            ``[T, n_y]``; the known samples as they were given.

        Raises:
            ValueError: The task is no simulation or prediction, or an array does not fit.
        """
        del attrs
        inputs = self.about["inputs"]
        if "u" not in inputs or "y" not in self.about["outputs"]:
            raise ValueError(
                f"a task of inputs u and outputs y can be called so, got `"
                f"{self.about['task']['name']}`; use `outputs(batch)`"
            )
        u = np.asarray(u)
        batch: dict[str, np.ndarray] = {"u": u[None]}
        if "given.y" not in inputs:
            return np.asarray(self.outputs(self._seen(batch, "u"))["y"][0])
        if y_init is None or not 1 <= len(y_init) < len(u):
            count = 0 if y_init is None else len(y_init)
            raise ValueError(
                "a prediction needs at least one known output and fewer than inputs, got "
                f"{count} of `y_init` and {len(u)} of `u`"
            )
        y_init, known = np.asarray(y_init), len(y_init)
        y = np.zeros((1, len(u), inputs["y"]["shape"][-1]))
        given = np.zeros((1, len(u), 1), bool)
        y[0, :known], given[0, :known] = y_init, True
        given &= ~np.isnan(y).any(axis=-1, keepdims=True)
        batch |= {"y": np.where(given, y, 0.0), "given.y": given}
        found = np.asarray(self.outputs(self._seen(batch, "u"))["y"][0])
        return np.where(given[0], y[0], found)

    def outputs(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Everything the model gives for a batch of arrays as ``model.json`` names them.

        Args:
            batch: ``[B, …]`` by name; floats are taken to single precision.

        Raises:
            ValueError: A name is missing or unknown, or a shape does not fit.
        """
        inputs = self.about["inputs"]
        if set(batch) != set(inputs):
            raise ValueError(
                f"the model takes {', '.join(sorted(inputs))}, got "
                f"{', '.join(sorted(batch)) or 'nothing'}"
            )
        arrays = {n: np.asarray(a).astype(inputs[n]["dtype"]) for n, a in batch.items()}
        for name, array in arrays.items():
            self._check(name, array, inputs[name]["shape"])
        rows = len(next(iter(arrays.values())))
        if self.about["rows"] != 1 or rows == 1:
            return self._program(arrays)
        found = [
            self._program({n: a[i : i + 1] for n, a in arrays.items()})
            for i in range(rows)
        ]
        return {name: np.concatenate([f[name] for f in found]) for name in found[0]}

    def _check(self, name: str, array: np.ndarray, shape: list[Any]) -> None:
        """A number in a shape is wanted exactly; ``t`` is any length from the least on."""
        least = self.about["least_samples"]
        fits = array.ndim == len(shape) and all(
            place == 0 or (size >= least if wanted == "t" else size == wanted)
            for place, (size, wanted) in enumerate(zip(array.shape, shape, strict=True))
        )
        if not fits:
            raise ValueError(
                f"`{name}` must be {shape}, with t at least {least}, got {array.shape}"
            )

    def _seen(self, batch: dict[str, np.ndarray], role: str) -> dict[str, np.ndarray]:
        """With the mask of what was seen, where the model was trained on gaps."""
        mask = f"seen.{role}"
        if mask not in self.about["inputs"]:
            return batch
        seen = ~np.isnan(batch[role])
        return batch | {role: np.where(seen, batch[role], 0.0), mask: seen}


def load(folder: str | Path) -> Predictor:
    """The model in a folder; see `Predictor`."""
    return Predictor(folder)
