"""Orders of decisions and numbers of workers side by side: regret, time, and idle workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hpo.errors import StudyError
from hpo.order import resolved, seats_in
from hpo.report import numbers, regret
from hpo.report.regret import Comparison
from hpo.simulate.compare import Plan


@dataclass(frozen=True, kw_only=True)
class Manner:
    """A way to run a study.

    Attributes:
        workers: Trials that are trained at a time.
        order: In which order decisions are taken, its seats counted.
    """

    workers: int
    order: str

    def of(self, plan: Plan) -> Plan:
        """A plan whose studies are run like this.

        Args:
            plan: What is simulated.
        """
        return replace(plan, workers=self.workers, order=self.order)


@dataclass(frozen=True, kw_only=True)
class OrderRow:
    """A method, run in one manner, when its whole budget is spent.

    Attributes:
        method: Its name.
        workers: Trials that are trained at a time.
        order: In which order decisions are taken.
        regret: Mean over the studies in which any trial had a value.
        low: Lower end of its interval.
        high: Upper end.
        seconds: Mean virtual seconds.
        ratio: These over the seconds of the first order named, with as many workers.
        idle: Mean share of the workers' time in which they had nothing to do.
    """

    method: str
    workers: int
    order: str
    regret: float | None
    low: float | None
    high: float | None
    seconds: float | None
    ratio: float | None
    idle: float | None


def manners(workers: str, order: str) -> list[Manner]:
    """Every number of workers with every order.

    Args:
        workers: Numbers, separated by commas.
        order: Orders, separated by commas.

    Raises:
        StudyError: One of them has no meaning.
    """
    counts = [part.strip() for part in workers.split(",")]
    if not all(c.isdecimal() and int(c) >= 1 for c in counts):
        raise StudyError(
            f"`--workers` is a number from 1 up, or several, got {workers!r}",
            hint="for example `--workers 8`, or `--workers 2,8,64`",
        )
    orders = [part.strip() for part in order.split(",")]
    for name in orders:
        seats_in(name)
    return [
        Manner(workers=int(count), order=resolved(name, workers=int(count)))
        for count in counts
        for name in orders
    ]


def rows(every: Sequence[tuple[Manner, Comparison]]) -> list[OrderRow]:
    """The last budget of every method in every manner.

    Args:
        every: The manners with what came of them; of those with as many workers the first
            one is what the others' time is compared with.
    """
    found: list[OrderRow] = []
    first: dict[tuple[str, int], float | None] = {}
    for manner, comparison in every:
        for row in regret.rows(comparison):
            if row.budget != comparison.budgets[-1]:
                continue
            usual = first.setdefault((row.method, manner.workers), row.seconds)
            found.append(
                OrderRow(
                    method=row.method,
                    workers=manner.workers,
                    order=manner.order,
                    regret=row.regret,
                    low=row.low,
                    high=row.high,
                    seconds=row.seconds,
                    ratio=row.seconds / usual if row.seconds and usual else None,
                    idle=row.idle,
                )
            )
    return sorted(found, key=lambda r: comparison.methods.index(r.method))


def render(found: Sequence[OrderRow]) -> str:
    """The rows as aligned columns.

    Args:
        found: What `rows` gave.
    """
    heads = ("method", "workers", "order", "regret", "95 %", "time", "times", "idle")
    cells = [
        (
            row.method,
            str(row.workers),
            row.order,
            "–" if row.regret is None else f"{row.regret:.3f}",
            "" if row.low is None else f"[{row.low:.3f}, {row.high:.3f}]",
            "–" if row.seconds is None else numbers.duration(row.seconds),
            "–" if row.ratio is None else f"{row.ratio:.2f}",
            "–" if row.idle is None else f"{100 * row.idle:.1f} %",
        )
        for row in found
    ]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    left = (0, 2)  # names; numbers are flush right
    lines = [
        "  ".join(
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (heads, *cells)
    ]
    lines.insert(1, "─" * (sum(widths) + 2 * len(widths) - 2))
    lines += ["", "times: its virtual time over that of the first order, equal workers"]
    return "\n".join(lines)
