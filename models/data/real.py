"""Real datasets known by name, with the protocol of each one's PROVENANCE.md."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a dataset is scored, and what is shown of it in lists.

    Attributes:
        summary: What was measured, in one line.
        units: Unit of every output channel.
        score_from: Samples at the start of every sequence that are not scored.
        also_score_from: Further starts to score from.
        source: Where it was published.
    """

    summary: str
    units: tuple[str, ...]
    score_from: int
    also_score_from: tuple[int, ...] = ()
    source: str


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
}
