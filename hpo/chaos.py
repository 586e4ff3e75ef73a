"""Faults on purpose: what goes wrong follows from a seed, the trial and the epoch.

A run that is launched with them must end as one without, but for the trials whose numbers were
spoiled; `hpo verify` says whether it did. Faults reach the worker's session and the ledger of real
runs, and simulated loops alike. They are noted in the ledger.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from hpo.duration import parse_duration
from hpo.errors import StudyError
from hpo.seeds import derive
from models.training.protocol import Epoch

_RATES = ("worker", "node", "nan", "hang", "slow")
DEATHS = 2  # that a fault causes in one trial at most: as many as are tried again
LONGEST = 1.0  # seconds by which a slow epoch is longer
_EXAMPLE = (
    "for example `--chaos worker=0.05,nan=0.05,hang=0.02,slow=0.1,disk-full@200,"
    "driver@120 --chaos-seed 7`"
)


@dataclass(frozen=True, kw_only=True)
class Chaos:
    """Which faults a run has; the rates are shares of the epochs.

    Attributes:
        seed: What the faults follow from.
        worker: The worker's process dies at the end of an epoch, before anything is saved.
        node: Behind an epoch, every slot on the node that trained it is killed; on a cluster.
        node_every: The same once in so many active seconds of the run; 0 for never.
        nan: Every validation metric of an epoch becomes NaN.
        hang: An epoch never ends.
        slow: An epoch takes up to a second longer.
        disk_full: Events of the ledger that find the disk full, until the driver has ended.
        driver: Events of the ledger right after which the driver is killed.
    """

    seed: int = 0
    worker: float = 0.0
    node: float = 0.0
    node_every: float = 0.0
    nan: float = 0.0
    hang: float = 0.0
    slow: float = 0.0
    disk_full: tuple[int, ...] = ()
    driver: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str, *, seed: int = 0) -> Self:
        """Read what `--chaos` was given.

        Args:
            text: ``RATE=SHARE``, ``node=TIMES/DURATION`` and ``EVENT@NUMBER``, with commas
                between them.
            seed: What the faults follow from.

        Raises:
            StudyError: A fault is unknown, or its share or number has no meaning.
        """
        found: dict[str, Any] = {}
        for part in (p.strip() for p in text.split(",") if p.strip()):
            name, sign, value = re.fullmatch(
                r"([^=@]*)([=@]?)(.*)", part, re.S
            ).groups()  # type: ignore[union-attr]
            field = name.strip().replace("-", "_")
            if sign == "=" and field == "node" and "/" in value:
                found["node_every"] = _every(part, value)
            elif sign == "=" and field in _RATES:
                found[field] = _share(part, value)
            elif sign == "@" and field in ("disk_full", "driver"):
                found[field] = (*found.get(field, ()), _event(part, value))
            else:
                raise StudyError(
                    f"a fault is `worker`, `node`, `nan`, `hang` or `slow` with =SHARE, or "
                    f"`disk-full` or `driver` with @EVENT, got {part!r}",
                    hint=_EXAMPLE,
                )
        if not found:
            raise StudyError(f"`--chaos` names no fault in {text!r}", hint=_EXAMPLE)
        return cls(seed=seed, **found)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """What `to_json` wrote down."""
        events = {name: tuple(data[name]) for name in ("disk_full", "driver")}
        return cls(**{**data, **events})

    def to_json(self) -> dict[str, Any]:
        """The faults as JSON-able data."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    def __str__(self) -> str:
        """As `--chaos` takes it, with the seed behind it."""
        rates = [
            f"{name}={getattr(self, name):g}" for name in _RATES if getattr(self, name)
        ]
        if self.node_every:
            rates.append(f"node=1/{self.node_every:.10g}s")
        events = [f"disk-full@{n}" for n in self.disk_full]
        events += [f"driver@{n}" for n in self.driver]
        return f"{','.join([*rates, *events])} with seed {self.seed}"

    def dies(self, trial: int, epoch: int, *, deaths: int) -> bool:
        """Whether the worker dies at the end of an epoch.

        A trial has as many deaths on purpose as are tried again, each at an epoch of its own.

        Args:
            trial: The trial's number.
            epoch: The epoch.
            deaths: How often its worker has died before, by the ledger.
        """
        if deaths >= DEATHS or not self._has("worker", self.worker, trial, epoch):
            return False
        before = range(1, epoch)
        return deaths == sum(self._has("worker", self.worker, trial, n) for n in before)

    def takes_node(self, trial: int, epoch: int) -> bool:
        """Whether the node that trained an epoch loses its slots once the epoch is reported.

        Args:
            trial: The trial's number.
            epoch: The epoch.
        """
        return self._has("node", self.node, trial, epoch)

    def nodes_due(self, elapsed: float) -> int:
        """How many nodes have lost their slots by then for the time alone.

        One in each stretch of `node_every` seconds, at a moment of it that follows from the seed;
        which node it is follows from whose epoch is reported next.

        Args:
            elapsed: Active seconds of the run.
        """
        if not self.node_every:
            return 0
        stretch, into = divmod(elapsed, self.node_every)
        return int(stretch) + (
            into >= self.node_every * self._draw("node", int(stretch))
        )

    def hangs(self, trial: int, epoch: int) -> bool:
        """Whether an epoch never ends.

        Args:
            trial: The trial's number.
            epoch: The epoch.
        """
        return self._has("hang", self.hang, trial, epoch)

    def spoils(self, trial: int, epoch: int) -> bool:
        """Whether the validation metrics of an epoch become NaN.

        Args:
            trial: The trial's number.
            epoch: The epoch.
        """
        return self._has("nan", self.nan, trial, epoch)

    def spoiled(self, trial: int, epoch: Epoch) -> Epoch:
        """The epoch as it is reported.

        Args:
            trial: The trial's number.
            epoch: As the learner yielded it.
        """
        if not self.spoils(trial, epoch.number):
            return epoch
        return replace(epoch, valid=dict.fromkeys(epoch.valid, math.nan))

    def delay(self, trial: int, epoch: int) -> float:
        """Seconds by which an epoch is longer.

        Args:
            trial: The trial's number.
            epoch: The epoch.
        """
        if not self._has("slow", self.slow, trial, epoch):
            return 0.0
        return LONGEST * self._draw("delay", trial, epoch)

    def _has(self, fault: str, share: float, trial: int, epoch: int) -> bool:
        return share > 0 and self._draw(fault, trial, epoch) < share

    def _draw(self, *what: Any) -> float:
        return derive(self.seed, "chaos", *what) / 2**32


def _share(part: str, value: str) -> float:
    try:
        share = float(value)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise StudyError(
            f"a fault's share is a number from 0 to 1, got {part!r}", hint=_EXAMPLE
        )
    return share


def _every(part: str, value: str) -> float:
    times, _, length = value.partition("/")
    if not times.isascii() or not times.isdecimal() or int(times) < 1:
        raise StudyError(
            f"nodes are lost a number of times in a length of time, got {part!r}",
            hint="for example `--chaos node=1/60s`",
        )
    return parse_duration(length, option="--chaos node=TIMES/DURATION") / int(times)


def _event(part: str, value: str) -> int:
    if not value.isascii() or not value.isdecimal() or int(value) < 1:
        raise StudyError(
            f"a fault's event is the number of a line of the ledger, from 1, got {part!r}",
            hint=_EXAMPLE,
        )
    return int(value)
