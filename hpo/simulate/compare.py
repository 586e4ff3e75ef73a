"""Methods against methods: many simulated studies, the same seeds for each."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from hpo import order as orders
from hpo import seeds
from hpo.errors import StudyError
from hpo.ledger.folder import RunFolder
from hpo.report.regret import Comparison, Outcome
from hpo.search import registry as samplers
from hpo.shares import divided
from hpo.simulate import catalog, own
from hpo.simulate.task import Task
from hpo.simulate.virtual import refuse_exploiting, simulate
from hpo.stopping import registry as rules
from hpo.stopping.planning import PlanningRule
from hpo.study import Budget, Family, Resources, Rule, Study
from hpo.trials.states import RANKED
from search_spaces.space import Space

_SHARES = 6  # pieces of work for each process, so that they end at about the same time


@dataclass(frozen=True, kw_only=True)
class Method:
    """How a study is searched.

    Attributes:
        name: What it is called.
        sampler: How configurations are proposed.
        stopping: Which rules may end a trial.
    """

    name: str
    sampler: Rule
    stopping: tuple[Rule, ...]

    def made(self) -> tuple[Any, ...]:
        """Its sampler and rules, equal for methods that search alike.

        Raises:
            StudyError: A name or an option is unknown, or breaks a rule.
        """
        made = [rules.make(rule) for rule in self.stopping]
        refuse_exploiting(self.stopping)
        never = rules.make(Rule(name="none"))
        return samplers.make(self.sampler), *(rule for rule in made if rule != never)

    @property
    def sized(self) -> bool:
        """Whether what it does depends on the budget from the first trial on."""
        made = [rules.make(rule) for rule in self.stopping]
        planning = (r for r in made if isinstance(r, PlanningRule))
        return self.pausing() is not None or any(r.sized for r in planning)

    def pausing(self) -> rules.PausingRule | None:
        """The rule that lets trials wait for each other, if there is one."""
        made = (rules.make(rule) for rule in self.stopping)
        return next((r for r in made if isinstance(r, rules.PausingRule)), None)


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where curves come from; opened anew in every process.

    Attributes:
        table: A table's name, or empty for a run.
        root: The folder of tables, or None for ``$HPO_DATA``.
        run: A run's folder.
    """

    table: str = ""
    root: Path | None = None
    run: Path | None = None

    def task(self, name: str) -> Task:
        """One of its tasks; a run is a single one.

        Raises:
            UserError: It is not there, or damaged.
        """
        if self.run is not None:
            return own.as_pool(own.read(RunFolder(self.run)))
        return catalog.open_table(self.table, root=self.root).task(name)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan of a simulation.

    Attributes:
        source: Where curves come from.
        tasks: Names of the tasks; the studies are dealt to them in turn.
        methods: What is compared.
        budgets: Full runs that are paid for, ascending.
        studies: How many studies there are of each method.
        trials: How many trials a study may have; None for as many as there are.
        workers: How many trials run at a time in each.
        order: In which order decisions are taken, see `hpo.order`.
        cost: The currency of the budgets: ``epochs`` of all trials together, or ``seconds``
            of virtual time, in those of a usual full run.
    """

    source: Source
    tasks: tuple[str, ...]
    methods: tuple[Method, ...]
    budgets: tuple[int, ...]
    studies: int
    trials: int | None = None
    workers: int = 1
    order: str = orders.ARRIVAL
    cost: str = "epochs"

    @property
    def method_names(self) -> tuple[str, ...]:
        """The names of the methods, in order."""
        return tuple(m.name for m in self.methods)


def compare(plan: Plan, *, processes: int) -> Comparison:
    """Simulate every method with every seed.

    Study `i` searches task `i` modulo their number, with a seed that depends on `i` alone:
    all methods meet the same tasks and, as far as they draw alike, the same draws.

    Args:
        plan: What is simulated.
        processes: How many processes share the work; the result does not depend on it.

    Raises:
        UserError: The data is missing or damaged, or a method cannot search it.
    """
    parts = _parts(plan, _pieces(plan, processes), processes)
    outcomes = sorted((o for part in parts for o in part), key=lambda o: o.study)
    return Comparison(
        methods=plan.method_names,
        budgets=plan.budgets,
        tasks=plan.tasks,
        outcomes=tuple(outcomes),
    )


def ladder(budget: int) -> tuple[int, ...]:
    """1, 2, 5, 10, 20, … below a budget, and the budget.

    Args:
        budget: Full runs.
    """
    below = (m * 10**k for k in range(len(str(budget))) for m in (1, 2, 5))
    return (*(b for b in below if b < budget), budget)


def _pieces(plan: Plan, processes: int) -> list[tuple[str, tuple[int, ...]]]:
    """Work for one process at a time: a task and some of its studies."""
    pieces = []
    for place, task in enumerate(plan.tasks):
        mine = range(place, plan.studies, len(plan.tasks))
        share = max(1, -(-len(mine) * len(plan.tasks) // (processes * _SHARES)))
        pieces += [
            (task, tuple(mine[i : i + share])) for i in range(0, len(mine), share)
        ]
    return pieces


def _parts(
    plan: Plan, pieces: Sequence[tuple[str, tuple[int, ...]]], processes: int
) -> Iterator[list[Outcome]]:
    if processes == 1 or len(pieces) == 1:
        for task, studies in pieces:
            yield _piece(plan, task, studies)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        min(processes, len(pieces)), mp_context=context, initializer=_end_with_parent
    ) as pool:
        waiting = [pool.submit(_piece, plan, task, s) for task, s in pieces]
        try:
            for part in waiting:
                yield part.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _end_with_parent() -> None:
    """Let this worker end where its parent was killed: a pool's would wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker of a pool"

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@lru_cache(maxsize=4)
def _task(source: Source, name: str) -> Task:
    return source.task(name)


def _piece(plan: Plan, name: str, studies: Sequence[int]) -> list[Outcome]:
    task = _task(plan.source, name)
    found: list[Outcome] = []
    for study in studies:
        for method in plan.methods:
            found += _outcomes(plan, method, task, study)
    return found


def _outcomes(plan: Plan, method: Method, task: Task, study: int) -> Iterator[Outcome]:
    """One method's study at every budget.

    A rule that plans for a budget, or for as many trials as that pays for, is run once for
    each; any other is run once, and what was best on the way is what it would have had with
    less.
    """
    runs = plan.budgets if method.sized else plan.budgets[-1:]
    for run in runs:
        story = simulate(
            _study(plan, method, task, study, run), task, workers=plan.workers
        )
        counts = story.director.counts()
        for budget in (run,) if method.sized else plan.budgets:
            moment = story.best_at(**_limit(plan, task, budget))
            whole = budget == run
            yield Outcome(
                method=method.name,
                study=study,
                task=task.name,
                budget=budget,
                regret=None if moment is None else task.regret(moment.trial),
                ranked=moment is not None and moment.ranked,
                trials=len(story.director.trials) if whole else None,
                completed=sum(counts.get(s, 0) for s in RANKED) if whole else None,
                seconds=story.director.elapsed if whole else None,
                idle=story.idle(plan.workers) if whole else None,
            )


def _limit(plan: Plan, task: Task, runs: int) -> dict[str, Any]:
    """So many full runs of a task, in the plan's currency.

    Raises:
        StudyError: The task has no seconds.
    """
    if plan.cost == "epochs":
        return {"epochs": runs * task.epochs}
    if not task.seconds:
        raise StudyError(
            f"`{task.name}` has no recorded seconds", hint="compare by `--cost epochs`"
        )
    return {"seconds": runs * task.seconds}


def _study(plan: Plan, method: Method, task: Task, study: int, runs: int) -> Study:
    """The study that spends so many full runs on a task."""
    own_epochs = task.own_epochs or {}
    total = runs * task.epochs * (plan.workers if plan.cost == "seconds" else 1)
    most = min(n for n in (total, task.size, plan.trials) if n is not None)
    quotas = {n: _quota(most, c.size, task.size) for n, c in task.curves.items()}
    pausing = method.pausing()
    if pausing is not None:
        budgets = [own_epochs.get(name, task.epochs) for name in task.curves]
        sizes = {name: curves.size or 1 for name, curves in task.curves.items()}
        paid = divided(pausing.affordable(total, budgets), sizes)
        quotas = {name: min(quota, paid[name]) for name, quota in quotas.items()}
    families = tuple(
        Family(
            name=name,
            space=curves.space,
            trials=quotas[name],
            epochs=own_epochs.get(name),
        )
        for name, curves in task.curves.items()
    )
    limit = _limit(plan, task, runs)
    return Study(
        name="simulated",
        families=families,
        objectives=(task.objective,),
        budget=Budget(
            trials=most,
            epochs=task.epochs,
            total_epochs=limit.get("epochs"),
            seconds=limit.get("seconds"),
        ),
        sampler=method.sampler,
        stopping=method.stopping,
        resources=Resources(
            workers=plan.workers,
            order=orders.resolved(plan.order, workers=plan.workers),
        ),
        seed=seeds.derive(study, "simulate"),
    )


def _quota(most: int, mine: int | None, all_of_them: int | None) -> int:
    """A family's trials: its share of the pool."""
    if mine is None or not all_of_them:
        return most
    return min(mine, max(1, round(most * mine / all_of_them)))


def parse_methods(
    sampler_names: str, stopping_names: str, own: Study | None = None
) -> tuple[Method, ...]:
    """Every sampler with every stopping rule, each method once.

    Args:
        sampler_names: ``NAME[:OPTION=VALUE…]``, separated by commas; ``default`` is what a
            new study would have, ``own`` what the run has.
        stopping_names: The same; ``+`` joins rules. `divergence` comes before all. With
            ``@SAMPLER`` behind it a rule goes with that sampler alone.
        own: The study of the run; None for a table.

    Returns:
        In the order they are named. A method that is there already, if by other words
        (``asha:eta=3`` is ``asha``), is left out.

    Raises:
        StudyError: A name or an option is unknown or breaks a rule, none is given, or a
            table is asked for its ``own``.
    """
    every = list(_samplers(sampler_names, own))
    found: list[Method] = []
    known: list[Any] = []
    for part in _listed("--stopping", stopping_names):
        text, alone, own_sampler = part.partition("@")
        name, rules_ = _stopping(text, own)
        mine = list(_samplers(own_sampler, own)) if alone else every
        for sampler_name, sampler in mine:
            title = f"{sampler_name} {name}"
            method = Method(name=title, sampler=sampler, stopping=rules_)
            made = method.made()
            if made not in known:
                known.append(made)
                found.append(method)
    return tuple(found)


def _samplers(text: str, own: Study | None) -> Iterator[tuple[str, Rule]]:
    for part in _listed("--sampler", text):
        study = _named_study(part, own)
        sampler = _rule(part) if study is None else study.sampler
        yield part if study is None else _title(sampler), sampler


def _stopping(text: str, own: Study | None) -> tuple[str, tuple[Rule, ...]]:
    study = _named_study(text, own)
    if study is None:
        joined = tuple(_rule(p) for p in text.split("+"))
        before = () if joined[0].name == "divergence" else (Rule(name="divergence"),)
        return text, (*before, *joined)
    shown = [_title(r) for r in study.stopping if r != Rule(name="divergence")]
    title = "+".join(shown) or "none"
    if all(r.name != "divergence" for r in study.stopping):
        title += " without divergence"
    return title, study.stopping


def _named_study(text: str, own: Study | None) -> Study | None:
    """Whose sampler and rules a word stands for; None where it is no such word."""
    if text == "default":
        return Study(name=text, families=(Family(name="any", space=Space({})),))
    if text == "own" and own is None:
        raise StudyError(
            "`own` is what a run has, and a table is no run",
            hint="`default` is what a new study would have",
        )
    return own if text == "own" else None


def _title(rule: Rule) -> str:
    """A rule as it would be written on the command line."""
    values = {
        k: v if isinstance(v, str) else json.dumps(v) for k, v in rule.options.items()
    }
    return ":".join([rule.name, *(f"{k}={v}" for k, v in values.items())])


def _listed(option: str, text: str) -> list[str]:
    found = [p.strip() for p in text.split(",") if p.strip()]
    if not found:
        raise StudyError(
            f"`{option}` names nothing in {text!r}", hint="write NAME, or NAME,NAME"
        )
    return found


def _rule(text: str) -> Rule:
    """``asha:eta=4`` as a rule; a value is JSON, and text where it is none."""
    name, *pairs = text.split(":")
    options = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise StudyError(
                f"an option is written NAME:OPTION=VALUE, got {text!r}",
                hint="for example `asha:eta=4:grace=2`",
            )
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
    return Rule(name=name, options=options)
