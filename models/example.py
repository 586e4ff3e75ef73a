"""The return value of a family's `example()`: a tiny configuration and tiny data for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from models.training.protocol import Context


@dataclass(frozen=True, kw_only=True)
class Units:
    """An affine change of physical units: ``value · scale + offset``, per signal.

    Attributes:
        u_scale: Factor on every input.
        u_offset: Added to every input.
        y_scale: Factor on every output.
        y_offset: Added to every output.
    """

    u_scale: float = 1.0
    u_offset: float = 0.0
    y_scale: float = 1.0
    y_offset: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Example:
    """A problem that trains in a second, for conformance tests and first steps.

    Attributes:
        config: Dotted keys of a tiny configuration of the family.
        epochs: The budget in which every scheduled mechanism fires.
        inputs: Input channels of the data.
        outputs: Output channels of the data.
        lengths: Samples of every file, by part; two train files of different length, so
            that mixing across files would show.
    """

    config: Mapping[str, Any]
    epochs: int = 4
    inputs: int = 1
    outputs: int = 1
    lengths: Mapping[str, tuple[int, ...]] = field(
        default_factory=lambda: {"train": (320, 270), "valid": (80,), "test": (80,)}
    )

    @property
    def units_type(self) -> type[Units]:
        """How a change of units is written down, for suites that only hold an example."""
        return Units

    def write(self, folder: Path, *, units: Units | None = None) -> Path:
        """Write the data as HDF5 files in the layout of every dataset.

        A stable second-order filter of white noise, squeezed by a tanh: nothing a linear
        model fits exactly. Data that is there already is left alone, for it is the same
        at every call; other units need another folder.

        Args:
            folder: Where ``train``, ``valid`` and ``test`` go.
            units: Physical units to write in.

        Returns:
            `folder`.
        """
        import h5py

        if (folder / "test").is_dir():
            return folder
        units = units or Units()
        random = np.random.default_rng(0)
        for part, lengths in self.lengths.items():
            (folder / part).mkdir(parents=True, exist_ok=True)
            for number, length in enumerate(lengths):
                u = random.normal(size=(length, self.inputs))
                y = _respond(u, self.outputs)
                with h5py.File(folder / part / f"{part}_{number}.hdf5", "w") as file:
                    file.attrs["fs"] = 100.0
                    for c in range(self.inputs):
                        file[f"u{c}"] = u[:, c] * units.u_scale + units.u_offset
                    for c in range(self.outputs):
                        file[f"y{c}"] = y[:, c] * units.y_scale + units.y_offset
        return folder

    def context(
        self, folder: Path, *, seed: int = 0, units: Units | None = None
    ) -> Context:
        """Write the data under `folder` and return what `create` needs beside the config.

        Args:
            folder: Where the data goes.
            seed: The trial's seed.
            units: Physical units to write in.
        """
        from models.data.catalog import prepare

        reference = prepare(str(self.write(folder, units=units)))
        return Context(data=reference.to_json(), seed=seed, epochs=self.epochs)


def _respond(u: np.ndarray, outputs: int) -> np.ndarray:
    """Simulate the example's system: ``[T, n_u]`` to ``[T, n_y]``."""
    drive, y = u.sum(axis=1), np.zeros((len(u), outputs))
    for channel in range(outputs):
        before, earlier = 0.0, 0.0
        for t, value in enumerate(drive):
            pole = 0.9 - 0.2 * channel
            state = np.tanh(value) * 0.4 + pole * before - 0.3 * earlier
            y[t, channel] = np.tanh(state)
            before, earlier = state, before
    return y
