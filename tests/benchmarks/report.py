"""What the report of a run of 2,000 trials × 100 epochs costs, and how fast its page opens.

`python -m tests.benchmarks report` writes a ledger of four families and eight workers, calls `hpo
report` and `hpo results` as a person does, each in a process of its own, and opens the page in
`chromium-headless-shell` where it and playwright are installed.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from msgspec import structs
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hpo import seeds
from hpo.ledger.events import Completed, EpochEvent, Event, Proposed, RunEvent, Started
from hpo.ledger.folder import RunFolder
from hpo.study import Budget, Family, Objective, Study
from search_spaces.space import Space

FAMILIES = ("rnn", "tcn", "crnn", "linear")
WORKERS = 8
SPACE = Space(
    {
        "model.cell": CategoricalDistribution(["gru", "lstm"]),
        "model.hidden_size": IntDistribution(8, 128, log=True),
        "model.layers": IntDistribution(1, 3),
        "model.dropout": FloatDistribution(0.0, 0.5),
        "optimizer.learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
        "optimizer.weight_decay": FloatDistribution(1e-6, 1e-2, log=True),
    }
)


def study(trials: int, epochs: int) -> Study:
    """Four families that nothing stops."""
    return Study(
        name="big",
        families=tuple(Family(name=f, space=SPACE) for f in FAMILIES),
        objectives=(Objective(metric="rmse", unit="V"),),
        budget=Budget(trials=trials, epochs=epochs),
    )


def uniform(*names: int) -> float:
    """A number in [0, 1) that depends on the names alone."""
    return seeds.derive(*names) / 2**32


def point(number: int) -> dict[str, object]:
    """A trial's hyperparameters."""
    u = [uniform(number, i) for i in range(6)]
    return {
        "model.cell": "gru" if u[0] < 0.5 else "lstm",
        "model.hidden_size": round(8 * 16 ** u[1]),
        "model.layers": 1 + int(3 * u[2]),
        "model.dropout": 0.5 * u[3],
        "optimizer.learning_rate": 1e-4 * 1e3 ** u[4],
        "optimizer.weight_decay": 1e-6 * 1e4 ** u[5],
    }


def events(trials: int, epochs: int):
    """The ledger: eight trials at a time, an epoch each in turn."""
    clock = 0.0
    yield RunEvent(action="launch")
    for first in range(1, trials + 1, WORKERS):
        block = range(first, min(first + WORKERS, trials + 1))
        params = {n: point(n) for n in block}
        for n in block:
            place = FAMILIES[(n - 1) % 4]
            yield Proposed(
                trial=n, elapsed=clock, family=place, number=(n - 1) // 4,
                params=params[n], seed=n, origin="random",
            )  # fmt: skip
            yield Started(
                trial=n, attempt=1, elapsed=clock, attempt_of="first", epoch=0
            )
        for epoch in range(1, epochs + 1):
            for n in block:
                clock += 0.01
                rate = params[n]["optimizer.learning_rate"]
                level = 0.05 + abs(math.log10(rate) + 2.5) / 10 + (n % 4) / 50
                value = level * (1 + 8 / epoch) * (1 + 0.1 * uniform(n, epoch, 7))
                told = {"rmse": value, "fit": 100 - value, "nrmse": value / 3}
                yield EpochEvent(
                    trial=n, attempt=1, elapsed=clock, epoch=epoch,
                    train={"loss": value**2}, valid=told, seconds=0.08,
                    compile_seconds=0.0, parameters=200 + 7 * n,
                )  # fmt: skip
        for n in block:
            yield Completed(trial=n, attempt=1, elapsed=clock, epoch=epochs)
    yield RunEvent(action="finish", elapsed=clock, reason="budget")


def written(folder: Path, *, trials: int, epochs: int) -> Path:
    """The run below a results folder."""
    run = RunFolder.create(folder, study(trials, epochs))
    run.write_study(study(trials, epochs), provenance={})
    with run.events_file.open("w") as file:
        event: Event
        for n, event in enumerate(events(trials, epochs), 1):
            file.write(structs.replace(event, n=n, time=float(n)).to_line())
    return run.path


def command(*words: str) -> tuple[float, float, float]:
    """Seconds by the clock and of the processor, and peak MiB, of a whole `hpo` process."""
    call = [sys.executable, "-c", "from hpo.cli.main import main; main()", *words]
    begin = time.perf_counter()
    with subprocess.Popen(
        call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"hpo {' '.join(words)}: {process.returncode}"
    worked = usage.ru_utime + usage.ru_stime
    return time.perf_counter() - begin, worked, usage.ru_maxrss / 1024


@dataclass(frozen=True, kw_only=True)
class Opening:
    """How long a browser took over a page, in seconds from the request on.

    Attributes:
        paint: Until something was painted.
        load: Until all was there and the script had run.
        laid_out: By our clock, until the page could say how high it is.
        worked: What its main thread computed for, until a frame after that was painted.
    """

    paint: float
    load: float
    laid_out: float
    worked: float


_TOLD = """() => new Promise((done) => requestAnimationFrame(() => setTimeout(() => {
  const [paint] = performance.getEntriesByName("first-contentful-paint");
  const [page] = performance.getEntriesByType("navigation");
  done([paint.startTime / 1e3, page.loadEventEnd / 1e3]);
})))"""


def opened(page: Path, *, times: int) -> Opening | None:
    """The medians of several openings, each by a new browser; None without one."""
    found = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if found is None:
        return None
    with sync_playwright() as playwright:
        each = [_opened(playwright.chromium, found, page) for _ in range(times)]
    return Opening(
        **{
            f.name: statistics.median(getattr(one, f.name) for one in each)
            for f in fields(Opening)
        }
    )


def _opened(chromium: Any, found: str, page: Path) -> Opening:
    browser = chromium.launch(executable_path=found, args=["--no-sandbox"])
    sheet = browser.new_page(viewport={"width": 1280, "height": 800})
    sheet.goto("about:blank")
    session = sheet.context.new_cdp_session(sheet)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def worked() -> float:
        told = session.send("Performance.getMetrics")["metrics"]
        return next(m["value"] for m in told if m["name"] == "TaskDuration")

    before, begin = worked(), time.perf_counter()
    sheet.goto(page.as_uri())
    sheet.evaluate("document.documentElement.scrollHeight")
    laid_out = time.perf_counter() - begin
    paint, load = sheet.evaluate(_TOLD)
    made = Opening(paint=paint, load=load, laid_out=laid_out, worked=worked() - before)
    browser.close()
    return made


def main() -> None:
    """Print a line a measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2_000)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--openings", type=int, default=7, help="median of so many")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as aside:
        place = written(Path(aside), trials=given.trials, epochs=given.epochs)
        report = "report", str(place)
        for name, words in (
            ("hpo results, first", ("results", str(place))),
            ("hpo results", ("results", str(place))),
            ("hpo report", report),
        ):
            seconds, worked, peak = command(*words)
            told = f"{seconds:6.2f} s, {worked:6.2f} s of the processor"
            print(f"{name:20} {told}, {peak:6.0f} MiB", flush=True)
        page = place / "report" / "index.html"
        print(f"{'index.html':20} {page.stat().st_size / 1e6:6.2f} MB")
        found = opened(page, times=given.openings)
        if found is None:
            print(f"{'opens in':20} no browser")
            return
        print(
            f"{'opens in':20} {found.laid_out:6.2f} s (first paint {found.paint:.2f} s, "
            f"load event {found.load:.2f} s), {found.worked:.2f} s of its main thread"
        )


if __name__ == "__main__":
    main()
