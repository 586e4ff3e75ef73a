"""Sentences that a report says whether anything is confirmed or not."""

from __future__ import annotations

from hpo.report import formats, table
from hpo.report.page.told import Told
from hpo.study import Study


def compared(content: Told) -> str:
    """Which families, with what budget."""
    summary = content.summary
    names = ", ".join(
        f"{s.family} ({many(s.trials, 'trial')}, {many(s.epochs, 'epoch')})"
        for s in content.families
    )
    budgets = [s.epochs for s in content.families if s.epochs]
    uneven = len(budgets) > 1 and max(budgets) > 1.1 * min(budgets)
    goals = table.goals(summary.study.objectives)
    goal = f"ranked by {goals}," if goals else best(summary.study)
    text = f"{names}; {goal} over the validation part"
    told = (
        uneven and content.verdict is None
    )  # a verdict says so itself, at more length
    return f"{text}. Their budgets are unequal." if told else f"{text}."


def best(study: Study, unit: str = "") -> str:
    """What makes a trial the best by its first objective: ``smallest rmse [V]``.

    Args:
        study: The study.
        unit: What stands behind the metric.
    """
    goal = study.objectives[0]
    good = "smallest" if goal.direction == "minimize" else "largest"
    return f"{good} {goal.metric}{unit}"


def tuned_by(study: Study) -> str:
    """What a paper says that families were tuned by.

    Args:
        study: The study.
    """
    if goals := table.goals(study.objectives):
        return f"{goals},"
    unit = study.objectives[0].unit
    return f"the {best(study, f' [{unit}]' if unit else '')}"


def on(content: Told) -> str:
    """The data and the task."""
    task = content.summary.study.described_task.get("name")
    told = f" (task {task})" if task else ""
    return f"{data_name(content)}{told}."


def data_name(content: Told) -> str:
    """The name of the data, or whatever the study says of it."""
    if name := content.data.get("name"):
        return str(name)
    data = content.summary.study.data
    if data is None:
        return "what the learners bring themselves"
    return data if isinstance(data, str) else formats.inline_json(data)


def many(count: int, what: str) -> str:
    """A number of things: ``1 trial``, ``1,200 trials``."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
