"""The conformance suite of every executor, by its name.

Each check starts drivers in processes of their own, with a learner in pure Python, and looks
afterwards at the ledger, at what was really trained, and at what processes are left.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution

from hpo.fixed import FixedTrial
from hpo.ledger.events import EpochEvent, Evaluated, Failed
from hpo.run import executor as registry
from hpo.run import executors
from hpo.seeds import derive
from hpo.study import Budget, Family, Resources, Rule, Study
from hpo.testing import drivers
from hpo.testing.drivers import Driver
from hpo.testing.steady import EVALUATED, PROCESSES, TROUBLES, trained
from hpo.trials.states import ENDINGS

PATIENCE = 10.0  # seconds in which processes of a driver that is gone must be gone, too
_EPOCHS = 6
_SPACE = {
    "rate": FloatDistribution(0.05, 0.9),
    "trouble": CategoricalDistribution(TROUBLES),
    "start": 1.0,
}


def check_found(executor: str) -> None:
    """It is found by its name, and asks for a worker or more.

    Args:
        executor: Its name.
    """
    assert executor in registry.names(), f"{executor} is none of {registry.names()}"
    for places in (1, 2, 16):
        wanted = registry.find(executor).workers(places)
        assert 1 <= wanted <= places, f"{wanted} workers in {places} places"


def check_outcomes(executor: str, folder: Path, *, workers: int = 2) -> None:
    """Exceptions, exits, stalls, deaths and NaN end their own trial and no other one.

    Args:
        executor: Its name.
        folder: Where runs go.
        workers: Trials at a time.
    """
    troubles = ("none", "raise", "exit", "hang", "die", "die once", "nan", "none")
    study = _study(executor, troubles, workers=workers, stall=3.0)
    with _driven(folder, study) as driver:
        assert driver.outcome()["state"] == "finished"
        events = driver.events()
        states = _states(events)
        wanted = ["completed", "failed", "failed", "failed", "failed", "completed"]
        assert states == [*wanted, "diverged", "completed"], states
        reasons = [e.reason for e in events if isinstance(e, Failed)]
        assert "ValueError: this configuration cannot work" in reasons
        assert "the code called sys.exit(7)" in reasons
        assert "stalled" in reasons
        attempts = [e.trial for e in events if e.event == "started"]
        assert [attempts.count(n) for n in (5, 6)] == [3, 2], "two retries of a death"
        assert _at_once(events) <= workers, "more trials at a time than workers"


def check_numbers(executor: str, folder: Path) -> None:
    """One worker or two: every number is that of the executor `local` with one.

    Args:
        executor: Its name.
        folder: Where runs go.
    """
    troubles = ("none",) * 5
    stories = []
    for name, workers in (("local", 1), (executor, 1), (executor, 2)):
        study = _study(name, troubles, workers=workers, pause=0.05)
        with _driven(folder / f"{name}-{workers}", study) as driver:
            assert driver.outcome()["state"] == "finished"
            assert _at_once(driver.events()) == workers, "workers that stood idle"
            stories.append(drivers.story(_run(driver)))
    assert stories[0] == stories[1], "other numbers than those of `local`"
    assert stories[0] == stories[2], "other numbers with two workers"


def check_evaluation(executor: str, folder: Path) -> None:
    """Trials are scored once, when all of them have ended; deaths are retried.

    Args:
        executor: Its name.
        folder: Where runs go.
    """
    troubles = ("none", "raise late", "die late once", "raise", "none")
    study = _study(executor, troubles, workers=2).replace(evaluate="test")
    with _driven(folder, study) as driver:
        assert driver.outcome()["state"] == "finished"
        events = driver.events()
        order = [e.event for e in events]
        ends = [n for n, e in enumerate(events) if e.event in ENDINGS]
        assert order.count("test_read") == 1, "the part is announced once"
        assert max(ends) < order.index("test_read") < order.index("evaluated")
        found = {e.trial: e for e in events if isinstance(e, Evaluated)}
        assert sorted(found) == [1, 2, 3, 5]
        assert "cannot be evaluated" in str(found[2].reason)
        for number in (1, 3, 5):
            best = min(_values(events, number))
            assert found[number].metrics == {"rmse": 2 * best}
            assert found[number].records["b"] == {"rmse": 3 * best}
        run = _run(driver)
        _nothing_twice(run)
        times = {n: len(lines) for n, lines in trained(run, EVALUATED).items()}
        assert times == {1: 1, 2: 1, 3: 2, 5: 1}


def check_stop(executor: str, folder: Path) -> None:
    """A first Ctrl-C finishes the epochs in progress and saves; nothing is trained twice.

    Args:
        executor: Its name.
        folder: Where runs go.
    """
    study = _study(executor, ("none",) * 4, workers=2, pause=0.3)
    with _driven(folder, study) as driver:
        drivers.wait_until(lambda: _count(driver, "epoch") >= 3, 60)
        driver.interrupt()
        assert driver.outcome()["state"] == "interrupted"
        events = driver.events()
        assert "interrupted" in [e.event for e in events], "nothing was at work"
    run = _run(driver)
    with _driven(folder, resume=run) as again:
        assert again.outcome()["state"] == "finished"
    _nothing_twice(run)


def check_leaving(executor: str, folder: Path) -> None:
    """A second Ctrl-C leaves at once, in the middle of an epoch.

    Args:
        executor: Its name.
        folder: Where runs go.
    """
    study = _study(executor, ("none",) * 2, workers=2, pause=60.0)
    with _driven(folder, study) as driver:
        drivers.wait_until(lambda: _count(driver, "started") >= 2, 60)
        time.sleep(2.0)  # until the workers are within their epochs
        driver.interrupt()
        time.sleep(0.5)
        assert driver.process.poll() is None, "the epoch in progress is waited for"
        driver.interrupt()
        assert driver.outcome(timeout=PATIENCE)["state"] == "interrupted"


def check_budget(executor: str, folder: Path, *, seconds: float = 4.0) -> None:
    """When the run's time is used up, what runs is cancelled and killed.

    Args:
        executor: Its name.
        folder: Where runs go.
        seconds: The time; enough to start two workers.
    """
    study = _study(executor, ("none",) * 3, workers=2, pause=120.0, seconds=seconds)
    with _driven(folder, study) as driver:
        assert driver.outcome(timeout=seconds + 60)["state"] == "time"
        events = driver.events()
        assert _states(events) == ["cancelled"] * 2
        late = max(e.elapsed for e in events if e.event == "cancelled") - seconds
        assert late < PATIENCE, f"cancelled {late:.1f} s late"


def check_kill(executor: str, folder: Path, *, moments: Sequence[int] = (8,)) -> None:
    """A killed driver takes its workers along, and a resume tells the undisturbed story.

    Args:
        executor: Its name.
        folder: Where runs go.
        moments: Events after which a driver is killed.
    """
    study = _study(executor, ("none",) * 3, workers=1).replace(evaluate="test")
    with _driven(folder / "whole", study) as driver:
        driver.outcome()
    undisturbed = drivers.story(_run(driver))
    for moment in moments:
        place = folder / str(moment)
        with _driven(place, study, kill_at=moment) as killed:
            killed.process.communicate(timeout=120)
            assert killed.process.returncode == -signal.SIGKILL
        run = _run(killed)
        ended = {e.trial for e in killed.events() if e.event in ENDINGS}
        before = trained(run)
        with _driven(place, resume=run) as again:
            assert again.outcome()["state"] == "finished"
        assert drivers.story(run) == undisturbed, f"killed after event {moment}"
        after = trained(run)
        for number in ended:
            assert after[number or 0] == before[number or 0], "trained again"


def check_population(
    executor: str, folder: Path, *, moments: Sequence[int] = (22,)
) -> None:
    """Trials that adopt each other: the numbers of `local`, and no other ones after a kill.

    Args:
        executor: Its name.
        folder: Where runs go.
        moments: Events after which a driver is killed; before any of them somebody adopts.
    """
    stories, spent = [], 4 * [[str(n + 1) for n in range(_EPOCHS)]]
    for name, workers in (("local", 1), (executor, 1), (executor, 2)):
        study = _population(name, workers=workers)
        with _driven(folder / f"{name}-{workers}", study) as driver:
            assert driver.outcome()["state"] == "finished"
            stories.append(drivers.story(_run(driver)))
            assert [*trained(_run(driver)).values()] == spent, "trained twice"
    assert sum(len(t.get("adopted", ())) for t in stories[0].values()) == 4
    assert stories[0] == stories[1], "other numbers than those of `local`"
    assert stories[0] == stories[2], "other numbers with two workers"
    for moment in moments:
        place = folder / str(moment)
        study = _population(executor, workers=1)
        with _driven(place, study, kill_at=moment) as killed:
            killed.process.communicate(timeout=120)
            assert killed.process.returncode == -signal.SIGKILL
        with _driven(place, resume=_run(killed)) as again:
            assert again.outcome()["state"] == "finished"
        told = drivers.story(_run(killed))
        assert told == stories[0], f"killed after event {moment}"


def check_order(executor: str, folder: Path) -> None:
    """In virtual order: the decisions of `local` with one worker, with one worker or two.

    Args:
        executor: Its name.
        folder: Where runs go.
    """
    stories = []
    for name, workers in (("local", 1), (executor, 1), (executor, 2)):
        study = _compared(name, workers=workers)
        with _driven(folder / f"{name}-{workers}", study) as driver:
            assert driver.outcome()["state"] == "finished"
            run = _run(driver)
            stories.append(
                [*drivers.story(run).items()]
            )  # in the order of the proposals
            _nothing_twice(run)
    ends = {trial["state"][0] for _, trial in stories[0]}
    assert {"stopped", "completed"} <= ends, "nobody was compared"
    assert stories[0] == stories[1], "other decisions than those of `local`"
    assert stories[0] == stories[2], "other decisions with two workers"


CHECKS = (
    check_outcomes,
    check_numbers,
    check_evaluation,
    check_stop,
    check_leaving,
    check_budget,
    check_kill,
    check_population,
    check_order,
)


# -- how it is checked --------------------------------------------------------------------


def _study(
    executor: str,
    troubles: Sequence[str],
    *,
    workers: int,
    pause: float = 0.0,
    stall: float = 600.0,
    seconds: float | None = None,
) -> Study:
    """A study of one trial for each trouble."""
    family = Family(
        name="steady",
        space={**_SPACE, "pause": pause},  # type: ignore[arg-type]
        create="hpo.testing.steady:create",
    )
    fixed = [
        FixedTrial(
            family="steady",
            params={"rate": 0.1 + 0.1 * n, "trouble": trouble},
            seed=derive(0, n),
        )
        for n, trouble in enumerate(troubles)
    ]
    return Study(
        name="conformance",
        families=(family,),
        budget=Budget(trials=len(fixed), epochs=_EPOCHS, seconds=seconds),
        stopping=(Rule(name="divergence"),),
        resources=Resources(executor=executor, workers=workers, stall=stall),
        fixed=tuple(fixed),
    )


def _population(executor: str, *, workers: int) -> Study:
    """Four trials, two of which adopt the two others after two epochs, and after four."""
    space: dict[str, Any] = {"rate": _SPACE["rate"], "start": 1.0}
    family = Family(
        name="steady",
        space=space,  # type: ignore[arg-type]
        create="hpo.testing.steady:create",
    )
    rule = Rule(name="pbt", options={"interval": 2, "quantile": 0.5})
    return Study(
        name="population",
        families=(family,),
        budget=Budget(trials=4, epochs=_EPOCHS),
        stopping=(rule,),
        resources=Resources(executor=executor, workers=workers),
        seed=2,
    )


def _compared(executor: str, *, workers: int) -> Study:
    """A study whose trials are compared with each other, on four seats."""
    return Study(
        name="compared",
        families=(
            Family(
                name="steady",
                space={"rate": _SPACE["rate"], "start": 1.0},  # type: ignore[arg-type]
                create="hpo.testing.steady:create",
            ),
        ),
        budget=Budget(trials=8, epochs=9),
        stopping=(Rule(name="asha"),),
        resources=Resources(executor=executor, workers=workers, order="virtual:4"),
    )


@contextmanager
def _driven(
    folder: Path, study: Study | None = None, **options: Any
) -> Iterator[Driver]:
    """A driver that is waited for inside, and of which no process is left afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    driver = drivers.start(folder, study, packages=executors.__path__, **options)
    try:
        yield driver
        drivers.wait_until(lambda: not _workers(driver), PATIENCE)
        if driver.process.returncode == 0:
            drivers.wait_until(lambda: not driver.descendants(), PATIENCE)
    finally:
        driver.end()


def _workers(driver: Driver) -> set[str]:
    """Living processes in which a learner was made."""
    folder = driver.folder
    made = trained(folder, PROCESSES).values() if folder else ()
    living = {str(process.pid) for process in driver.descendants()}
    return living & {pid for pids in made for pid in pids}


def _run(driver: Driver) -> Path:
    folder = driver.folder
    assert folder is not None, os.listdir(driver.results)
    return folder


def _count(driver: Driver, kind: str) -> int:
    return sum(e.event == kind for e in driver.events())


def _states(events: Sequence[Any]) -> list[str]:
    """How the trials ended, by number."""
    ends = {e.trial: e.event for e in events if e.event in ENDINGS}
    return [ends[n] for n in sorted(ends)]


def _values(events: Sequence[Any], trial: int) -> list[float]:
    return [
        e.valid["rmse"]
        for e in events
        if isinstance(e, EpochEvent) and e.trial == trial
    ]


def _at_once(events: Sequence[Any]) -> int:
    """The largest number of trials that ran at the same time, by the ledger."""
    running: set[int] = set()
    most = 0
    for event in events:
        if event.event == "started":
            running.add(event.trial)
        elif event.event in (*ENDINGS, "interrupted", "paused"):
            running.discard(event.trial)
        most = max(most, len(running))
    return most


def _nothing_twice(run: Path) -> None:
    for number, lines in trained(run).items():
        assert len(lines) == len(set(lines)), f"trial {number} trained {lines}"
