"""A confirmation in words: what can be said of the winners, of what it is said, how surely."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import stdev

from hpo.confirmation.reach import MOST, within_reach
from hpo.confirmation.record import (
    LEAST,
    Confirmation,
    Contender,
    Pair,
    Verdict,
)
from hpo.pasted import pasted
from hpo.report import numbers

_TIMES = ("", "once", "twice")


def headline(found: Confirmation) -> str:
    """What is settled, in one or two sentences.

    Args:
        found: The confirmation.
    """
    if not found.look:
        what = {
            "choose": "the candidates are being chosen",
            "confirm": "the winners have not had all their new seeds",
        }
        return f"Nothing is settled: {what[found.stage or 'confirm']}."
    if not found.contenders:
        return "Nothing is settled: no family has a candidate."
    if len(found.contenders) == 1:
        only = found.contenders[0].family
        return f"One family, `{only}`: there is nobody to compare it with."
    leader = found.contenders[0].family
    mine = [p for p in found.pairs if leader in (p.a, p.b)]
    told = []
    for verdict in Verdict:
        for leads in (True, False):
            others = [
                p.b if p.a == leader else p.a
                for p in mine
                if p.verdict is verdict
                and (leads == (p.a == leader) or not _sided(verdict))
            ]
            if others and (leads or _sided(verdict)):
                told.append(_clause(leader, others, verdict, leads=leads))
    return "; ".join(told) + "."


def _sided(verdict: Verdict) -> bool:
    return verdict in (Verdict.BETTER, Verdict.BETTER_OPEN)


def _clause(
    leader: str, others: Sequence[str], verdict: Verdict, *, leads: bool
) -> str:
    names = _listed(others)
    if _sided(verdict):
        how = "better" if leads else "worse"
        return f"{leader} is {how} than {names}, {str(verdict).partition(', ')[2]}"
    if verdict is Verdict.SAME:
        return f"{leader} and {names}: {verdict}"
    if verdict is Verdict.UNDECIDED:
        return f"{leader} and {names}: undecided"
    return f"{leader} and {names}: fewer than {LEAST} values, so nothing is said"


def verdict_sentence(found: Confirmation, pair: Pair) -> str:
    """The verdict on two families, with effect, interval and the seeds won.

    Args:
        found: The confirmation.
        pair: One of its pairs.
    """
    names = {c.family: c for c in found.contenders}
    a, b = names[pair.a], names[pair.b]
    unit = found.unit_of
    if pair.verdict is Verdict.NONE:
        each = " and ".join(dict.fromkeys(str(c.count) for c in (a, b)))
        many = "searches" if unit == "search" else "seeds"
        return (
            f"{pair.a} and {pair.b}: no verdict below {LEAST} {many} each, got {each}."
        )
    effect = _effect(found, pair, a, b)
    wins = (
        f"{pair.a} wins {_count(pair.wins * pair.compared)} of {pair.compared} pairs of "
        f"{'searches' if unit == 'search' else 'seeds'}"
    )
    stood = f", decided at look {pair.look}" if pair.look < found.look else ""
    if _sided(pair.verdict):
        amount = str(pair.verdict).partition(", ")[2]
        head = f"{pair.a} is better than {pair.b}, {amount}{stood}"
        return f"{head}: {effect}; {wins}."
    if pair.verdict is Verdict.SAME:
        head = f"{pair.a} and {pair.b}: no difference that matters{stood}"
        return f"{head}: {effect}; less than {_matters(found)} does not matter; {wins}."
    return (
        f"{pair.a} and {pair.b}: undecided: {_remedy(found, pair)}: {effect}; {wins}."
    )


def _remedy(found: Confirmation, pair: Pair) -> str:
    many = "searches" if found.unit_of == "search" else "seeds"
    if pair.p is not None:
        return f"how many {many} would settle it cannot be told where some failed"
    if within_reach(found, pair):
        return f"about {pair.needed:,} {many} each would settle it"
    both = (c for c in found.contenders if c.family in (pair.a, pair.b))
    widest = max(both, key=lambda c: _spread(c, pair)).family
    price = f"{MOST} times as many"
    return f"the {many} of {widest} vary so much that {price} would not settle it"


def _spread(contender: Contender, pair: Pair) -> float:
    """Of its values, as the pair compares them."""
    if len(contender.values) < 2:
        return 0.0
    ratio = pair.scale == "ratio"
    return stdev([math.log(v) if ratio else v for v in contender.values])


def _effect(found: Confirmation, pair: Pair, a: Contender, b: Contender) -> str:
    """By how much, with its interval; by ranks where values are missing."""
    objective = found.study.objectives[0]
    if pair.p is not None:
        many = "searches" if found.unit_of == "search" else "seeds"
        failed = [
            f"{c.failed} of {c.count} {many} of {c.family}" for c in (a, b) if c.failed
        ]
        return (
            f"by ranks (p = {pair.p:.2g}), as {' and '.join(failed)} failed; no mean is "
            "compared"
        )
    effect, low, high = pair.effect, pair.low, pair.high
    assert effect is not None and low is not None and high is not None
    whose = f"its {objective.metric}" if _sided(pair.verdict) else objective.metric
    of = "" if _sided(pair.verdict) else f" of {pair.a}"
    if pair.scale == "ratio":
        less = effect <= 1
        word = "smaller" if less else "larger"
        sides = (
            (1 - effect, 1 - high, 1 - low) if less else (effect - 1, low - 1, high - 1)
        )
        size, *ends = (f"{100 * v:.1f}" for v in sides)
        return f"{whose}{of} is {size} % {word} [{_minus(ends[0])}, {_minus(ends[1])}]"
    less = effect <= 0
    word = "lower" if less else "higher"
    values = (-effect, -high, -low) if less else (effect, low, high)
    scale = numbers.scale_for([max(map(abs, values))], objective.unit, digits=3)
    size, *ends = (scale.format(v) for v in values)
    unit = f" {scale.unit}" if scale.unit else ""
    unit = " points" if scale.unit == "%" else unit
    return f"{whose}{of} is {size}{unit} {word} [{_minus(ends[0])}, {_minus(ends[1])}]"


def about(found: Confirmation) -> list[str]:
    """What the verdicts are about, what was spent, and whether they are blind.

    Args:
        found: The confirmation.
    """
    lines = [_subject(found)]
    if found.unequal:
        lines.append(
            "Unequal budgets: more trials find better winners of the same family, so a "
            "difference may be one of budgets."
        )
    if found.look and found.part == "valid":
        lines.append(
            "The learners score no test part: all values are of the validation part, which "
            "the search has seen."
        )
    elif found.look:
        before = (
            _TIMES[found.reads] if found.reads < 3 else f"{found.reads} times"
        )  # read as people say it
        lines.append(
            f"Not blind: the test part was read {before} before."
            if found.reads
            else "Blind: this run has not read the test part before."
        )
    if found.look > 1:
        lines.append(
            f"Look {found.look} at growing data: the intervals of all looks and pairs hold "
            "together with 95 %."
        )
    elif len(found.pairs) > 1:
        lines.append("The intervals of all pairs hold together with 96 %.")
    if found.changed:
        lines.append(f"Changed after a look: {found.changed}.")
    if found.grown:
        lines.append(
            f"The search has {found.grown} more trials since; they have no part in this."
        )
    lines += [
        f"Beyond a limit is trial {w.trial} of {c.family}"
        f"{'' if len(c.winners) == 1 else f' in {w.run.name}'}: {', '.join(w.beyond)}."
        for c in found.contenders
        for w in c.winners
        if w.beyond
    ]
    lines += [f"{family} is missing: {why}." for family, why in found.missing.items()]
    return lines


def _subject(found: Confirmation) -> str:
    part = "test" if found.part == "test" else "validation"
    spent = "; ".join(
        f"{c.family}: {_counted(c.trials, 'trial')}, {_counted(c.epochs, 'epoch')}, "
        f"{numbers.duration(c.seconds)}"
        for c in sorted(found.contenders, key=lambda c: c.family)
    )
    if found.unit_of == "search":
        return (
            f"This is about the families as this study tunes them, {len(found.runs)} "
            f"searches each, on this {part} part ({spent})."
        )
    return (
        f"This is about the tuned winners of this search, on this {part} part ({spent}); a "
        f"claim about families needs several searches: `{broader(found)}`."
    )


def broader(found: Confirmation) -> str:
    """The command that leads from one search to a claim about families."""
    if found.group:
        return pasted("confirm", found.group)
    return pasted("launch", found.study.name, "--repeat", 5)


def optimism(found: Confirmation, contender: Contender) -> str:
    """Whether new seeds keep what the search promised; empty where that is not known.

    Args:
        found: The confirmation.
        contender: One of its families.
    """
    winner, objective = contender.winner, found.study.objectives[0]
    gap = winner.optimism
    if gap is None or gap.low is None or gap.high is None or winner.search is None:
        return ""
    if len(contender.winners) > 1:
        return ""
    scale = numbers.scale_for([winner.search], objective.unit)
    unit = f" {scale.unit}" if scale.unit else ""
    told = f"{scale.signed(gap.mean)}{unit} [{scale.signed(gap.low)}, "
    told += f"{scale.signed(gap.high)}]"
    words = "validation less search"
    if objective.direction == "maximize":
        words = "search less validation"
    if gap.low > 0:
        words = "the search promised more than new seeds keep"
    elif gap.high < 0:
        words = "new seeds are better than the search promised"
    expected = winner.expected_optimism
    due = ""
    if expected is not None:
        due = f"; {scale.signed(expected)}{unit} is expected of the best of so many"
    return f"{contender.family}: {words}: {told}{due}."


def _minus(text: str) -> str:
    return text.replace("-", "−", 1) if text.startswith("-") else text


def _matters(found: Confirmation) -> str:
    if found.matters.relative:
        return f"{found.matters.amount * 100:g} %"
    unit = found.study.objectives[0].unit
    return f"{found.matters.amount:g} {unit}".rstrip()


def _count(value: float) -> str:
    return f"{value:g}" if value != int(value) else str(int(value))


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}" + ("" if count == 1 else "s")


def _listed(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
