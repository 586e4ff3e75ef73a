"""Re-runs as the terminal shows them, and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from statistics import median
from typing import Any

from hpo.report import numbers
from hpo.report.verdicts import Exact, Fresh
from hpo.statistics.means import Interval, mean_interval
from models.errors import near_matches


def record(result: Exact | Fresh) -> dict[str, Any]:
    """A JSON-able object: all that is known of a re-run of one trial."""
    return dataclasses.asdict(result)


def exact_text(result: Exact) -> str:
    """An exact re-run in a few lines."""
    lines = [f"trial {result.trial}, trained again with its recorded seed"]
    if result.equal:
        lines.append(f"  equal: every number of {result.epochs} epochs is the same")
    else:
        lines.append(f"  not equal, over {result.epochs} epochs")
        if result.first_difference:
            lines.append(f"  first difference: {result.first_difference}")
        lines.append(f"  largest difference: {result.max_difference:.3g}")
    if result.error:
        lines.append(f"  the repetition failed: {result.error}")
    lines += [f"  changed since the launch: {text}" for text in result.changed]
    return "\n".join([*lines, f"  stored in {result.folder}"])


def fresh_text(
    result: Fresh, *, by_record: bool = False, metrics: Sequence[str] = ()
) -> str:
    """Fresh seeds of one trial: a line each, then means, intervals and the optimism.

    Args:
        result: The re-run.
        by_record: Whether each record of the test part gets a line.
        metrics: Further metrics of the test part, a line each; also such as no epoch has.
    """
    values = [r.objective for r in result.runs]
    tests = [(r.test or {}).get(result.metric) for r in result.runs]
    scale = numbers.scale_for([*values, *tests, result.search], result.unit)
    unit = f" [{scale.unit}]" if scale.unit else ""
    rank = f" (rank {result.rank})" if result.rank else ""
    lines = [
        f"trial {result.trial}{rank}, {result.family}: {len(result.runs)} fresh seeds, "
        f"{result.metric}{unit}",
        *([f"with {result.altered}"] if result.altered else []),
        "",
        f"{'seed':>12}  {'validation':>10}  {'test':>10}  {'best epoch':>10}  {'seconds':>8}",
    ]
    for run, test in zip(result.runs, tests, strict=True):
        best = "–" if run.best_epoch is None else f"{run.best_epoch}/{run.epochs}"
        end = run.error or (f"ended by {run.ended_by}" if run.ended_by else "")
        lines.append(
            f"{run.seed:>12}  {scale.format(run.objective):>10}  {scale.format(test):>10}  "
            f"{best:>10}  {numbers.seconds(run.seconds):>8}"
            + (f"  {end}" if end else "")
        )
    lines += ["", *_means(result, scale)]
    if metrics:
        lines += ["", *_further(result, metrics)]
    if by_record:
        lines += ["", *_records(result, scale), ""]
    lines += [f"changed since the launch: {text}" for text in result.changed]
    return "\n".join([*lines, f"stored in {result.folder}"])


def _means(result: Fresh, scale: numbers.Scale) -> list[str]:
    lines = [
        f"{'test':<12}{_interval(result.test, scale)}",
        f"{'validation':<12}{_interval(result.valid, scale)}",
    ]
    failed = sum(bool(run.error) for run in result.runs)
    if failed:
        lines.append(
            f"{'failed':<12}{failed} of {len(result.runs)} seeds, which the means leave out"
        )
    if result.search is None:
        return lines
    lines.append(f"{'search':<12}{_with_unit(result.search, scale)}")
    if result.optimism is not None:
        share = result.optimism / abs(result.search) if result.search else 0.0
        told = f"{_with_unit(result.optimism, scale)} ({share:+.1%})"
        lines.append(f"{'optimism':<12}{told}{_kept(result)}")
    return lines


def _kept(result: Fresh) -> str:
    """Whether fresh seeds keep what the search promised, where the interval can tell."""
    valid, search = result.valid, result.search
    if valid is None or valid.low is None or valid.high is None or search is None:
        return ""
    if valid.low <= search <= valid.high:
        return ", which the seeds cannot tell from none"
    assert result.optimism is not None, "there is a mean"
    if result.optimism > 0:
        return ": the search promised more than fresh seeds keep"
    return ": fresh seeds are better than the search promised"


def _records(result: Fresh, scale: numbers.Scale) -> list[str]:
    """A line a record of the test part, and the whole below them."""
    if not result.records:
        return ["by record: the learner scores the test part only as a whole"]
    found = {**result.records, "the whole": result.test}
    width = max(map(len, found))
    lines = [f"test part by record, {result.metric}"]
    lines += [
        f"  {name.ljust(width)}  {_interval(value, scale)}"
        for name, value in found.items()
    ]
    return lines


def _further(result: Fresh, metrics: Sequence[str]) -> list[str]:
    """A line a metric of the test part, over the seeds that did not fail.

    A name that ends with ``_p`` is a p-value.
    """
    tests = [run.test or {} for run in result.runs if not run.error]
    known = list(dict.fromkeys(name for test in tests for name in test))
    width, lines = max(map(len, metrics)), ["test part, further metrics"]
    for name in metrics:
        values = [test[name] for test in tests if name in test]
        scale = numbers.scale_for(values, "")
        told = _interval(mean_interval(values), scale)
        if name.partition(".")[0].endswith("_p") and values:
            # A p-value is no estimate of anything that seeds scatter around.
            middle, least = scale.format(median(values)), scale.format(min(values))
            told = f"median {middle}, smallest {least} of {len(values)}"
        if not values:
            told = f"– ({near_matches(name, known)})" if known else "–"
        lines.append(f"  {name.ljust(width)}  {told}")
    return lines


def _interval(interval: Interval | None, scale: numbers.Scale) -> str:
    if interval is None:
        return "–"
    mean = f"mean {_with_unit(interval.mean, scale)}"
    if interval.low is None:
        return f"{mean} (one value gives no interval)"
    low, high = scale.format(interval.low), scale.format(interval.high)
    few = f" ({interval.count} values are few: take 5)" if interval.count < 5 else ""
    return f"{mean}, 95 % interval {low} … {high}{few}"


def _with_unit(value: float, scale: numbers.Scale) -> str:
    return f"{scale.format(value)} {scale.unit}".strip()
