"""A run of 20,000 trials × 30 epochs: what the Director, the ledger and the reports cost.

`python -m tests.benchmarks.scale` drives the real Director with synthetic curves through a real
ledger, each study in a process of its own, and prints microseconds per event as the run grows,
TPE's cost per proposal, what a trial's end costs the trial loop, and seconds and peak memory of
`hpo results`, a resume's replay and the other commands that read the run.

`--workers 64,1000` prints instead what the driver of so many workers costs at an epoch a second
each: the trial loop under ASHA, random draws, a real ledger with real syncs. Reports of a window
are taken together, as an executor meets those that came while it was busy.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hpo import seeds
from hpo.director import Director
from hpo.director.decisions import Continue, Done, Start
from hpo.ledger.events import RunEvent
from hpo.ledger.folder import RunFolder
from hpo.ledger.log import Ledger
from hpo.run.evaluations import Evaluations
from hpo.run.loop import TrialLoop
from hpo.run.observer import Silent
from hpo.run.retention import Retention
from hpo.run.signals import Stop
from hpo.search import registry as search
from hpo.study import Budget, Family, Objective, Rule, Study
from hpo.worker.assignment import Assignment, Report
from models.training.protocol import Epoch
from search_spaces.space import Space

RULES = {
    "random, none": ("random", ()),
    "random, asha": ("random", ("divergence", "asha")),
    "random, median": ("random", ("divergence", "median")),
    "qmc, patience": ("qmc", ("divergence", "patience")),
}
MARKS = (1_000, 2_000, 5_000, 10_000, 20_000)
WORKERS = 8
SPACE = Space(
    {
        "model.cell": CategoricalDistribution(["gru", "lstm"]),
        "model.hidden_size": IntDistribution(8, 128, log=True),
        "model.num_layers": IntDistribution(1, 3),
        "optimizer.learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
        "optimizer.weight_decay": FloatDistribution(1e-6, 1e-2, log=True),
        "loss.n_skip": 50,
    }
)


def study(name: str, *, trials: int, epochs: int) -> Study:
    """One family under the sampler and rules of that name."""
    sampler, rules = RULES[name]
    family = Family(name="rnn", space=SPACE, create="tests.benchmarks.scale:none")
    return Study(
        name="scale",
        families=(family,),
        objectives=(Objective(metric="rmse", unit="V"),),
        budget=Budget(trials=trials, epochs=epochs),
        sampler=Rule(name=sampler),
        stopping=tuple(Rule(name=rule) for rule in rules),
        seed=1,
    )


def curve(start: Start, number: int) -> Epoch:
    """A falling curve with noise that depends on the trial alone."""
    rate = start.params["optimizer.learning_rate"]
    level = 0.1 + abs(math.log10(rate) + 2.5) + 8 / start.params["model.hidden_size"]
    noise = seeds.derive(start.seed, number) / 2**32
    value = level * (1 + 3 / number) * (1 + 0.1 * noise)
    valid = {"rmse": value, "fit": 100 - value, "nrmse": value / 3}
    return Epoch(number, {"loss": value * value}, valid, 0.25 + noise, 0.0)


class Drive:
    """Workers in turn, one epoch each; the Director's own time is taken apart.

    Args:
        name: One of `RULES`.
        folder: Where the ledger is written.
        trials: How many.
        epochs: Budget of each.
    """

    def __init__(self, name: str, folder: Path, *, trials: int, epochs: int) -> None:
        self.study = study(name, trials=trials, epochs=epochs)
        self.director = Director(self.study, workers=WORKERS)
        self.run = RunFolder(folder)
        folder.mkdir(parents=True)
        self.run.write_study(self.study, provenance={})
        self.events = 0
        self.seconds = 0.0  # of the Director: decisions and applying
        self.active: dict[int, tuple[Start, int]] = {}

    def ask(self, what, *arguments):
        """Call the Director against the clock."""
        begin = time.perf_counter()
        answer = what(*arguments)
        self.seconds += time.perf_counter() - begin
        return answer

    def write(self, ledger: Ledger, events) -> None:
        """As the trial loop does: the ledger first, then the Director."""
        for event in events:
            self.ask(self.director.apply, ledger.append(event))
            self.events += 1

    def go(self) -> list[tuple[int, float]]:
        """Run to the end; microseconds per event over the tenth before each mark."""
        marks = [m for m in MARKS if m <= self.study.budget.trials]
        windows = {int(0.9 * m): None for m in marks}
        found, clock = [], 0.0
        with Ledger.open(self.run.events_file, write=True) as ledger:
            self.write(ledger, [RunEvent(action="launch")])
            while True:
                decision, events = self.ask(self.director.next, clock)
                self.write(ledger, events)
                if isinstance(decision, Start):
                    self.active[decision.trial] = decision, 0
                    number = decision.trial
                    if number in windows and windows[number] is None:
                        windows[number] = self.events, self.seconds
                    if number in marks:
                        events_then, seconds_then = windows[int(0.9 * number)]
                        spent = self.seconds - seconds_then
                        found.append(
                            (number, 1e6 * spent / (self.events - events_then))
                        )
                    continue
                if isinstance(decision, Done):
                    break
                for number in list(self.active):
                    clock += 0.03
                    self.step(ledger, number, clock)
            data = {"action": "finish", "reason": "budget"}
            self.write(ledger, [RunEvent(elapsed=clock, **data)])
        return found

    def step(self, ledger: Ledger, number: int, clock: float) -> None:
        """One epoch of one trial."""
        start, known = self.active[number]
        epoch = curve(start, known + 1)
        decision, events = self.ask(
            self.director.judge, number, start.attempt, epoch, clock
        )
        self.write(ledger, events)
        if isinstance(decision, Continue):
            self.active[number] = start, known + 1
        else:
            del self.active[number]


class Seconds:
    """A second of many workers after another, through a real trial loop.

    Args:
        folder: Where the ledger is written.
        workers: How many trials run at a time, each an epoch a second.
        window: Seconds of reports that are taken in together.
    """

    def __init__(self, folder: Path, *, workers: int, window: float) -> None:
        whole = study("random, asha", trials=10**6, epochs=30)
        resources = dataclasses.replace(whole.resources, workers=workers)
        self.study = whole.replace(resources=resources)
        self.run = RunFolder(folder)
        folder.mkdir(parents=True)
        self.run.write_study(self.study, provenance={})
        self.workers, self.window = workers, window
        self.busy = self.events = 0.0
        self.now = 0.0

    def go(self, seconds: int) -> dict:
        """Wall and processor seconds of the driver in so many seconds of training."""
        director = Director(self.study, workers=self.workers)
        with Ledger.open(self.run.events_file, write=True) as ledger:
            loop = TrialLoop(
                study=self.study,
                data=None,
                creates={"rnn": ""},
                folder=self.run,
                ledger=ledger,
                director=director,
                stop=Stop(self.run.path / "stopping", lambda text: None),
                observer=Silent(),
                evaluations=Evaluations(""),
                clock=lambda: self.now,
            )
            places = [self._begun(loop) for _ in range(self.workers)]
            first, begin = ledger.count, (time.perf_counter(), time.process_time())
            for _ in range(seconds):
                self._second(loop, places)
            wall = time.perf_counter() - begin[0]
            cpu = time.process_time() - begin[1]
            events = ledger.count - first
        return {
            "events": events,
            "wall": wall / seconds,
            "cpu": cpu / seconds,
            "rate": events / wall,
        }

    def _begun(self, loop: TrialLoop) -> Assignment:
        task = loop.next()
        assert isinstance(task, Assignment)
        return task

    def _second(self, loop: TrialLoop, places: list) -> None:
        """Every worker reports once, those of a window together."""
        batch = max(1, round(self.window * self.workers))
        for first in range(0, self.workers, batch):
            self.now += 1.0 * min(batch, self.workers - first) / self.workers
            with loop.gathered():
                for place in range(first, min(first + batch, self.workers)):
                    places[place] = self._reported(loop, places[place])
            loop.tick()

    def _reported(self, loop: TrialLoop, task: Assignment) -> Assignment:
        known = loop.director.trials[task.trial].last
        start = Start.of(loop.director.trials[task.trial], attempt=task.attempt)
        report = Report(
            trial=task.trial, attempt=task.attempt, epoch=curve(start, known + 1)
        )
        if isinstance(loop.report(report), Continue):
            return task
        return self._begun(loop)


def at_work(folder: Path, *, workers: int, window: float, seconds: int) -> dict:
    """What a driver of so many workers costs a second of training."""
    return Seconds(folder, workers=workers, window=window).go(seconds)


def drive(name: str, folder: Path, *, trials: int, epochs: int) -> dict:
    """One study from the first trial to the last, and what its growth cost."""
    os.fdatasync = lambda descriptor: None  # the disk is not what is measured here
    driven = Drive(name, folder, trials=trials, epochs=epochs)
    begin = time.perf_counter()
    curve_of_costs = driven.go()
    return {
        "events": driven.events,
        "costs": curve_of_costs,
        "seconds": time.perf_counter() - begin,
        "director": driven.seconds,
        "peak": peak(),
    }


def replayed(folder: Path) -> dict:
    """The work of a resume on the ledger before anything is trained."""
    run = RunFolder(folder)
    a_study = Study.from_json(run.read_study()["study"])
    begin = time.perf_counter()
    director = Director(a_study, workers=WORKERS)
    with Ledger.open(run.events_file, write=True, told=director.apply) as ledger:
        events = ledger.count
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "peak": peak(), "events": events}


def growing(folder: Path) -> dict:
    """TPE's cost per proposal and the loop's cost per ending, as the history grows."""
    run = RunFolder(folder)
    a_study = Study.from_json(run.read_study()["study"])
    director = Director(a_study, workers=WORKERS)
    with Ledger.open(run.events_file, write=True, told=director.apply):
        pass
    trials = [director.trials[n] for n in sorted(director.trials)]
    found: dict[str, list] = {"tpe": [], "loop": []}
    sampler = search.make(Rule(name="tpe"))
    for mark in (m for m in MARKS if m <= len(trials)):
        request = search.Request(
            space=SPACE,
            seed=mark,
            family_seed=1,
            index=mark,
            history=trials[:mark],
            objective=a_study.objectives[0],
        )
        times = []
        for _ in range(3):
            begin = time.perf_counter()
            sampler.propose(dataclasses.replace(request, seed=request.seed + 1))
            times.append(time.perf_counter() - begin)
        found["tpe"].append((mark, 1e3 * sorted(times)[1]))
        retention = Retention(a_study.objectives, trials[:mark])
        begin = time.perf_counter()
        for trial in trials[mark - 500 : mark]:
            retention.add(trial)
        found["loop"].append((mark, 1e6 * (time.perf_counter() - begin) / 500))
    return found


def peak() -> float:
    """MiB that this process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def child(*words: str) -> dict:
    """Run a part of this benchmark in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.scale", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def command(*words: str) -> tuple[float, float]:
    """Seconds and peak MiB of a whole `hpo` process."""
    call = [sys.executable, "-c", "from hpo.cli.main import main; main()", *words]
    begin = time.perf_counter()
    with subprocess.Popen(
        call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"hpo {' '.join(words)}: {process.returncode}"
    return time.perf_counter() - begin, usage.ru_maxrss / 1024


def main() -> None:
    """Print the tables; about five minutes and one gigabyte of disk."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--workers", help="how many, such as 64,1000")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--name", default="random, none", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    size = {"trials": given.trials, "epochs": given.epochs}
    if given.part:
        parts = {
            "drive": lambda: drive(given.name, given.folder, **size),
            "replay": lambda: replayed(given.folder),
            "growing": lambda: growing(given.folder),
        }
        print(json.dumps(parts[given.part]()))
        return
    if given.workers:
        at_an_epoch_a_second([int(w) for w in given.workers.split(",")], given.seconds)
        return
    with tempfile.TemporaryDirectory(prefix="hpo-scale-") as place:
        report(Path(place), given.trials, given.epochs)


def at_an_epoch_a_second(counts: list[int], seconds: int) -> None:
    """Print the share of a core that the driver needs, each alone and in windows."""
    print(f"ASHA, random draws, an epoch a second and worker, {seconds} s, real syncs")
    print(
        f"{'workers':>8}{'window':>9}{'events':>9}{'wall':>8}{'core':>8}{'events/s':>10}"
    )
    for workers in counts:
        for window in (0.0, 0.01, 0.1):
            with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".scale-") as place:
                found = at_work(
                    Path(place) / "run", workers=workers, window=window, seconds=seconds
                )
            print(
                f"{workers:8d}{1e3 * window:6.0f} ms{found['events']:9d}"
                f"{100 * found['wall']:7.1f}%{100 * found['cpu']:7.1f}%"
                f"{found['rate']:10,.0f}",
                flush=True,
            )


def report(place: Path, trials: int, epochs: int) -> None:
    """Measure everything, a line each."""
    marks = [m for m in MARKS if m <= trials]
    print(f"{trials:,} trials of up to {epochs} epochs, {WORKERS} workers\n")
    print("Director, µs an event by trials (mean of the tenth before)")
    print(f"{'':16}" + "".join(f"{m:>9,}" for m in marks) + "    events  peak MiB")
    size = ("--trials", str(trials), "--epochs", str(epochs))
    runs = {}
    for i, name in enumerate(RULES):
        runs[name] = place / f"results-{i}" / "scale" / "20260101-000000-0a"
        words = ("--part", "drive", "--name", name, "--folder", str(runs[name]))
        found = child(*words, *size)
        costs = "".join(f"{cost:9.1f}" for _, cost in found["costs"])
        told = f"{found['events']:>10,}{found['peak']:10.0f}"
        print(f"{name:16}{costs}{told}", flush=True)
    whole = runs["random, none"]
    found = child("--part", "growing", "--folder", str(whole))
    for label, key in (
        ("TPE, ms a proposal", "tpe"),
        ("trial loop, µs an ending", "loop"),
    ):
        print(f"{label:20}" + "".join(f"{m:,}: {c:.1f}  " for m, c in found[key]))
    print(f"\nledger: {(whole / 'events.jsonl').stat().st_size / 2**20:.0f} MiB")
    print(f"{'':24}seconds  peak MiB")
    run, results = str(whole), ("--results", str(whole.parent.parent))
    for label, words in (
        ("results, first time", ("results", run)),
        ("results, second time", ("results", run)),
        ("results --top 20", ("results", run, "--top", "20")),
        ("list runs", ("list", "runs", *results)),
        ("show", ("show", run, "17")),
        ("best", ("best", run)),
        ("export --to csv", ("export", run, "--to", "csv")),
    ):
        seconds, mib = command(*words)
        print(f"hpo {label:20}{seconds:7.2f}{mib:10.0f}", flush=True)
    found = child("--part", "replay", "--folder", run)
    print(f"{'replay of a resume':24}{found['seconds']:7.2f}{found['peak']:10.0f}")


if __name__ == "__main__":
    main()
