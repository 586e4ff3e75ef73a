"""A learner in pure Python for the suites: deterministic, resumable, and bad on request.

Nothing here loads JAX. Its numbers follow from configuration and seed alone, and it writes
down, beside its attempts, in which process it was made and every epoch and evaluation.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from models.training.protocol import Context, Epoch, Excerpt

TROUBLES = (
    *("none", "raise", "exit", "hang", "die", "die once", "nan"),
    *("raise late", "die late once"),
)
# Files in the trial's folder.
TRAINED, EVALUATED, PROCESSES = "trained.txt", "evaluated.txt", "processes.txt"
_WHEN = 3  # the epoch of trouble


def noise(*parts: Any) -> float:
    """A number in [0, 1) that follows from `parts`."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


class Steady:
    """Its state is one float, changed a little by every epoch.

    The rate may change while it is trained.

    Args:
        config: ``start`` and ``rate``; also, where they are there, ``size``, ``pause`` (seconds
            an epoch takes) and ``trouble``: one of `TROUBLES`, all of them at epoch 3 but
            for the late ones, which come while it is evaluated.
        context: The trial's.
    """

    def __init__(self, config: Mapping[str, Any], context: Context) -> None:
        assert context.directory is not None, "every trial has a folder"
        self.config, self.context = dict(config), context
        self.place = context.directory.parent
        self.seed = context.seed
        self.done, self.state = 0, float(config["start"])
        self.epochs: list[Epoch] = []
        self._write_down(PROCESSES, str(os.getpid()))

    @property
    def parameters(self) -> int:
        """Its size."""
        return int(self.config.get("size", 1))

    @property
    def configuration(self) -> dict[str, Any]:
        """The configuration with a default."""
        return {**self.config, "default": "kept"}

    def fit_iter(self, epochs: int) -> Iterator[Epoch]:
        """Train, with what a checkpoint carries first."""
        yield from self.epochs[:]
        trouble = self.config.get("trouble")
        while self.done < epochs:
            number = self.done + 1
            if number == _WHEN:
                self._misbehave(trouble)
            time.sleep(self.config.get("pause", 0.0))
            rate = self.config["rate"]
            change = noise(self.seed, number) - 0.4
            self.state = self.state * (1 - rate) + rate * change
            value = abs(self.state) + 0.01 * self.config.get("size", 1)
            if trouble == "nan" and number >= _WHEN - 1:
                value = math.nan
            self.done = number
            self._write_down(TRAINED, f"{number} {time.time()}")
            epoch = Epoch(number, {"loss": value / 2}, {"rmse": value}, 0.001, 0.0)
            self.epochs.append(epoch)
            yield epoch

    def evaluate(self, part: str) -> dict[str, float]:
        """Twice the best validation error."""
        self._write_down(EVALUATED, f"{part} {self.done}")
        trouble = self.config.get("trouble")
        if trouble == "raise late":
            raise ValueError("this model cannot be evaluated")
        if trouble == "die late once":
            self._misbehave("die once")
        return {"rmse": 2 * self._best()}

    def evaluate_records(self, part: str) -> dict[str, dict[str, float]]:
        """One record with the best validation error, one with thrice that."""
        return {"a": {"rmse": self._best()}, "b": {"rmse": 3 * self._best()}}

    def excerpts(self, part: str) -> list[Excerpt]:
        """Three rows of four samples, the first one known, behind which all are scored."""
        best = self._best()
        return [
            Excerpt(
                which=which,
                record="a",
                row=number,
                rows=3,
                start=0,
                pieces=3,
                metric="rmse",
                value=number * best,
                unit="V",
                measured=[[0.0], [1.0], [0.0], [-1.0]],
                predicted=[
                    [math.nan],
                    *([y + number * best] for y in (1.0, 0.0, -1.0)),
                ],
                known=[[True], [False], [False], [False]],
                scored=[[False], [True], [True], [True]],
                names=("y0",),
                units=("V",),
                rate=10.0,
            )
            for number, which in enumerate(("best", "median", "worst"), 1)
        ]

    def save(self, directory: Path) -> None:
        """Write state and epochs, atomically."""
        rows = [[e.number, dict(e.train), dict(e.valid)] for e in self.epochs]
        path = directory / "state.json"
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(
            json.dumps([self.done, self.state, rows, self.seed, self.config["rate"]])
        )
        temporary.replace(path)

    def restore(self, directory: Path) -> None:
        """Read them back, where they are of this very training."""
        read = json.loads((directory / "state.json").read_text())
        self.done, self.state, rows, *origin = read
        mine = [self.seed, self.config["rate"]]
        assert origin == mine, f"the state is of {origin}, not of {mine}"
        self.epochs = [Epoch(n, t, v, 0.001, 0.0) for n, t, v in rows]

    def adopt(self, directory: Path, traced: Mapping[str, float]) -> None:
        """Read another one's, and go on at another rate."""
        *_, self.seed, rate = json.loads((directory / "state.json").read_text())
        self.config["rate"] = rate
        self.restore(directory)
        self.config |= traced

    def _best(self) -> float:
        values = (e.valid["rmse"] for e in self.epochs)
        return min((v for v in values if math.isfinite(v)), default=math.nan)

    def _misbehave(self, trouble: str | None) -> None:
        if trouble == "raise":
            raise ValueError("this configuration cannot work")
        if trouble == "exit":
            sys.exit(7)
        if trouble == "hang":
            time.sleep(3600)
        marker = self.place / "died"
        if trouble == "die once" and marker.exists():
            return
        if trouble in ("die", "die once"):
            marker.touch()
            os.kill(os.getpid(), 9)

    def _write_down(self, name: str, line: str) -> None:
        with (self.place / name).open("a") as file:
            file.write(f"{line}\n")


def create(config: Mapping[str, Any], context: Context) -> Steady:
    """Make one, as any family does."""
    return Steady(config, context)


create.traced = ("rate",)  # type: ignore[attr-defined]


def trained(folder: Path, name: str = TRAINED) -> dict[int, list[str]]:
    """The lines that the learners of a run wrote down, first word of each, by trial.

    Args:
        folder: The run's folder.
        name: `TRAINED`, `EVALUATED` or `PROCESSES`.
    """
    return {
        int(path.parent.name): [
            line.split()[0] for line in path.read_text().splitlines()
        ]
        for path in Path(folder).glob(f"trials/*/{name}")
    }
