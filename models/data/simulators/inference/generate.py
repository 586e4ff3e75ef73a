"""Writes one dataset of a simulator: three parts with draws of their own."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np

from models.data.files import sync_folder
from models.data.options import Draws
from models.data.simulators.inference import simulator
from models.data.simulators.inference.base import Arrays, Simulator
from models.errors import DataError

TEST_ROWS = 1000
OBSERVED, DRAWN = 10, 10_000
"""Rows of the test part whose exact posterior is drawn from, and draws of each."""
_CSV = ("true_parameters.csv", "observation.csv", "reference_posterior_samples.csv.bz2")


def generate(name: str, options: Draws, folder: Path) -> None:
    """Simulate and write ``folder/{train,valid,test}.hdf5``, flushed to the disk.

    Args:
        name: A simulator.
        options: How to run it.
        folder: An existing folder that nobody reads yet.

    Raises:
        OSError: The disk is full or cannot be written.
        DataError: Published observations do not fit the simulator.
    """
    made = simulator(name, options)
    valid = max(1, round(options.rows / 10))
    sizes = {"train": options.rows - valid, "valid": valid, "test": TEST_ROWS}
    for number, (part, rows) in enumerate(sizes.items()):
        prior, noise, exact = (
            np.random.default_rng([options.seed, number, purpose])
            for purpose in range(3)
        )
        theta = made.prior(prior, rows)
        arrays = {**theta, **made.simulate(noise, theta)}
        found: Mapping[str, np.ndarray] = {}
        if part == "test":
            arrays, found = _with_posterior(made, arrays, exact, options)
        _write(folder / f"{part}.hdf5", arrays, posterior=found)
    sync_folder(folder)


def _with_posterior(
    made: Simulator, arrays: Arrays, random: np.random.Generator, options: Draws
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The test part, and draws ``[rows, draws, …]`` of the posterior of its first rows."""
    if options.observations:
        rows, found = published(Path(options.observations))
        for role, values in rows.items():
            if values.shape[1:] != arrays[role].shape[1:]:
                raise DataError(
                    f"`{role}` of the observations in {options.observations} has shape "
                    f"{values.shape[1:]}, but the simulator gives {arrays[role].shape[1:]}",
                    hint="name the folder of the same simulator",
                )
        whole = {
            role: np.concatenate([rows[role], a[len(rows[role]) :]])
            for role, a in arrays.items()
        }
        return whole, found
    if made.posterior is None:
        return dict(arrays), {}
    drawn = [
        made.posterior(random, {role: a[row] for role, a in arrays.items()}, DRAWN)
        for row in range(OBSERVED)
    ]
    return dict(arrays), {r: np.stack([d[r] for d in drawn]) for r in drawn[0]}


def published(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Observations that were published with samples of their posteriors.

    Args:
        folder: Holds a folder for each, in the layout of the benchmark ``sbibm``.

    Returns:
        ``theta`` and ``x`` of the rows, and the samples ``[rows, draws, …]`` of theta.

    Raises:
        DataError: There are none, or one lacks a file or holds no table of numbers.
    """
    places = [p for p in folder.iterdir() if p.name.isdigit() and p.is_dir()]
    if not places:
        raise DataError(
            f"there is no observation in {folder}",
            hint="each lies in a folder named by its number, with " + ", ".join(_CSV),
        )
    tables = [
        [_table(place / name) for name in _CSV]
        for place in sorted(places, key=lambda p: int(p.name))
    ]
    theta, x, samples = zip(*tables, strict=True)
    return (
        {"theta": np.concatenate(theta), "x": np.concatenate(x)},
        {"theta": np.stack(samples)},
    )


def _table(path: Path) -> np.ndarray:
    import bz2

    def opened() -> Iterator[str]:
        read: Callable[..., io.TextIOBase] = bz2.open if path.suffix == ".bz2" else open  # type: ignore[assignment]
        with read(path, "rt") as file:
            yield from file

    try:
        return np.array(
            [[float(v) for v in row] for row in list(csv.reader(opened()))[1:]]
        )
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} is no table of numbers below a line of names: {error}",
            hint="each observation needs " + ", ".join(_CSV),
        ) from error


def _write(path: Path, arrays: Arrays, *, posterior: Arrays) -> None:
    """Contiguous float64, so that every worker can map it; equal bytes for equal data."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=np.asarray(values, np.float64))
        for name, values in posterior.items():
            file.create_dataset(
                f"posterior/{name}", data=np.asarray(values, np.float64)
            )
    with path.open("xb") as file:
        file.write(buffer.getbuffer())
        file.flush()
        os.fsync(file.fileno())
