"""Real datasets known by name, with the protocol of each one's PROVENANCE.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a dataset is scored, and what is shown of it in lists.

    Attributes:
        summary: What was measured, in one line.
        units: Unit of every output channel.
        score_from: Samples at the start of every sequence that are not scored.
        also_score_from: Further starts to score from.
        source: Where it was published.
        files: Where it lies under the data folder, the first that is there; empty for a
            folder of its name.
        request: Keys of its kind that it is asked for with, where a study says no other.
    """

    summary: str
    units: tuple[str, ...]
    score_from: int
    also_score_from: tuple[int, ...] = ()
    source: str
    files: tuple[str, ...] = ()
    request: Mapping[str, Any] = field(default_factory=dict)


def _transformer(name: str, *, rows_a_day: int, every: str) -> Protocol:
    """One of the transformer tables; months of 30 days: 12 of train, 4 of valid and of test."""
    month = 30 * rows_a_day
    borders = [month * months for months in (0, 12, 16, 20)]
    return Protocol(
        summary=f"six loads and the oil temperature of a transformer, {every}",
        units=("",),
        score_from=0,
        source="Zhou et al. 2021, Informer",
        files=tuple(
            f"{folder}{name}{suffix}"
            for folder in ("ett/", "")
            for suffix in (".csv", ".csv.gz")
        ),
        request={"borders": borders, "calendar": True},
    )


REAL = {
    "wiener_hammerstein": Protocol(
        summary="diode circuit between two filters, voltage to voltage, 51.2 kHz",
        units=("V",),
        score_from=50,
        source="Schoukens, Suykens and Ljung, SYSID 2009",
    ),
    "cascaded_tanks": Protocol(
        summary="pump voltage to level of the lower tank, with overflow, 0.25 Hz",
        units=("V",),
        score_from=50,
        also_score_from=(5,),
        source="Schoukens, Mattsson, Wigren and Noël, 2016",
    ),
    # The valid record begins with 100 samples of lead-in, because it is cut out of the
    # middle of a motion. Published scores count every sample, so both are printed.
    "bouc_wen": Protocol(
        summary="hysteretic oscillator, force to displacement, 750 Hz",
        units=("m",),
        score_from=100,
        also_score_from=(0,),
        source="Noël and Schoukens, 2016; Forgione and Piga, 2021",
    ),
    # At the recorded rate; `"decimate": 10` in a study's request is how others use it.
    "broad": Protocol(
        summary="inertial and magnetic sensors to orientation, by hand, 286 Hz",
        units=("",),
        score_from=0,
        source="Laidig, Caruso, Cereatti and Seel, 2021 (BROAD)",
        request={"movement": "movement", "gaps": True},
    ),
    "etth1": _transformer("ETTh1", rows_a_day=24, every="hourly"),
    "ettm1": _transformer("ETTm1", rows_a_day=96, every="every 15 minutes"),
}
