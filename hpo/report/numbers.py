"""Numbers as people read them: engineering prefixes, short floats, durations, sparklines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

_PREFIXES = {-12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G"}
_TAKES_PREFIX = {
    "V",
    "A",
    "W",
    "N",
    "J",
    "Pa",
    "m",
    "s",
    "g",
    "Hz",
    "Ω",
    "m/s",
    "m/s²",
    "Nm",
}
_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How a column of one quantity is printed.

    Attributes:
        factor: Printed number = value × factor.
        unit: The unit with its prefix; empty for none.
        decimals: Digits behind the point.
    """

    factor: float = 1.0
    unit: str = ""
    decimals: int = 4

    def format(self, value: float | None) -> str:
        """The value as the column prints it; a dash where there is none."""
        if value is None:
            return "–"
        if not math.isfinite(value):
            return str(value)
        scaled = value * self.factor
        if abs(scaled) >= 1e6 or (scaled and abs(scaled) < 0.5 * 10**-self.decimals):
            return f"{scaled:.2e}"
        return f"{scaled:.{self.decimals}f}"

    def signed(self, value: float) -> str:
        """A difference with its sign, in the column's digits however small it is."""
        text = f"{value * self.factor:+.{self.decimals}f}"
        return text.replace("-", "−", 1)


def scale_for(values: Iterable[float | None], unit: str, *, digits: int = 4) -> Scale:
    """Choose prefix and decimals so that the smallest value shows `digits` digits.

    The prefix keeps that value between 0.1 and 100, so 0.97 mV is not printed as 970 µV.
    Units that take no prefix (``%``, ``dB``, already prefixed ones) are left alone.

    Args:
        values: The column's values in `unit`; missing and non-finite ones are ignored.
        unit: The unit, empty for none.
        digits: Significant digits of the smallest value.
    """
    sizes = [abs(v) for v in values if v is not None and math.isfinite(v) and v != 0]
    if not sizes:
        return Scale(unit=unit)
    smallest = min(sizes)
    power = 0
    if unit in _TAKES_PREFIX:
        power = 3 * math.floor((math.log10(smallest) + 1) / 3)
        power = max(min(power, max(_PREFIXES)), min(_PREFIXES))
    before = math.floor(math.log10(smallest * 10.0**-power)) + 1
    decimals = (
        min(max(digits - max(before, 0), 0), 8)
        if before > 0
        else min(digits - 1 - before, 8)
    )
    return Scale(factor=10.0**-power, unit=_PREFIXES[power] + unit, decimals=decimals)


def short(value: Any) -> str:
    """A hyperparameter's value in few characters: ``0.00312``, ``1.2e-5``, ``gru``."""
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    if value and (abs(value) < 1e-3 or abs(value) >= 1e5):
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        mantissa = mantissa.rstrip("0").rstrip(".")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.0f}" if abs(value) >= 999.5 else f"{value:.3g}"


def count(value: int | None) -> str:
    """A whole number with thousands separators; a dash where there is none."""
    return "–" if value is None else f"{value:,}"


def size(value: float) -> str:
    """Bytes in decimal prefixes: ``512 B``, ``8.2 kB``, ``1.3 GB``."""
    for prefix in ("", "k", "M", "G"):
        if abs(value) < 999.5:
            return f"{value:.3g} {prefix}B"
        value /= 1000
    return f"{value:,.3g} TB" if value < 1000 else f"{value:,.0f} TB"


def seconds(value: float) -> str:
    """Seconds in a table's column: ``0.42``, ``41.2``, ``1,203``."""
    if value < 10:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 1000 else f"{value:,.0f}"


def duration(value: float) -> str:
    """Seconds in words: ``8 s``, ``2 min 05 s``, ``3 h 12 min``."""
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """The last part of each dotted key, with as much of its head as tells it apart."""
    distinct = sorted(set(keys))
    out: dict[str, str] = {}
    for key in distinct:
        parts = key.split(".")
        for depth in range(1, len(parts) + 1):
            tail = ".".join(parts[-depth:])
            clashes = [k for k in distinct if k == tail or k.endswith(f".{tail}")]
            if len(clashes) <= 1:
                break
        out[key] = tail
    return out


def sparkline(values: Sequence[float], *, width: int = 60) -> str:
    """A curve in one line, on a logarithmic scale where it spans more than a decade.

    Args:
        values: One value an epoch; ``×`` marks those that are not finite.
        width: Most characters; longer curves show the last value of each stretch.
    """
    if len(values) > width:
        values = [values[(i + 1) * len(values) // width - 1] for i in range(width)]
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        return "×" * len(values)
    low, high = min(finite), max(finite)
    logarithmic = low > 0 and high > 10 * low

    def height(value: float) -> float:
        if high == low:
            return 0.0
        if logarithmic:
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low)

    top = len(_BARS) - 1
    return "".join(
        _BARS[round(height(v) * top)] if math.isfinite(v) else "×" for v in values
    )
