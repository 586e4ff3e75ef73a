"""Population-based training on two simulated tanks; needs no download.

    hpo launch tanks_pbt
    hpo best tanks_pbt
    hpo rerun tanks_pbt --exact
    python -m studies.tanks_pbt --seeds 10 --results results

Protocol: prediction, as in `tanks_prediction`. Sixteen small networks of one shape; every five
epochs the four worst go on from copies of the four best, with other learning rates, weight
decays and starts of the cosine.

The last command searches with ten seeds, each time by `pbt` and, at equal epochs in the same
space, by random draws with `asha`. Each search's winner (by validation) is then trained once more,
exactly, and scored on the test part. Printed are all of these, both means, and the mean difference
with its 95 % interval and the exact p-value of the sign-flip test. It goes on where it was
interrupted.

Measured on 2026-11-29, 2 cores: `hpo launch tanks_pbt` 1 min 20 s, best 31.9 mV in validation; on
2026-11-30 the comparison, ten seeds in 36 min of cores that other work shared. `asha` won:

    pbt   mean test rmse 36.18 mV [33.66, 38.69]
    asha  mean test rmse 31.67 mV [30.49, 32.86]
    pbt - asha = +4.50 mV [+2.16, +6.85], 10 pairs, sign-flip p = 0.006

With 1,280 epochs `asha` begins 70 to 110 trials, of which few are trained long; `pbt` has its 16.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.distributions import FloatDistribution

from hpo.fixed import FixedTrial
from hpo.ledger.events import Evaluated
from hpo.ledger.folder import RunFolder
from hpo.ledger.log import events_of
from hpo.report.summary import Row, Summary, load_study, load_summary
from hpo.run.launch import launch, resume
from hpo.statistics.means import mean_interval
from hpo.statistics.paired import Paired, paired
from hpo.study import Budget, Family, Objective, Rule, Study
from search_spaces import rnn

TRIALS, EPOCHS = 16, 80
INTERVAL = 5  # epochs to a generation, and to the first rung of `asha`
DRAWN = 400  # more than `asha` can begin with the same epochs
METHODS = ("pbt", "asha")

STUDY = Study(
    name="tanks_pbt",
    data={"name": "simulated_cascaded_tanks", "samples": 16384, "noise": 0.00963},
    task="prediction",
    families=(
        Family(
            name="rnn",
            space=rnn.SPACE.replace(
                {
                    "model.cell": "gru",
                    "model.layers": 1,
                    "model.hidden_size": 32,
                    "model.dropout": 0.0,
                    "model.skip": True,
                    "data.window": 150,
                    "data.batch_size": 32,
                    "data.batches": 50,
                    "loss.kind": "mae",
                    "loss.n_skip": 0,
                    "optimizer.learning_rate": FloatDistribution(3e-4, 3e-2, log=True),
                    "optimizer.weight_decay": FloatDistribution(1e-6, 1e-1, log=True),
                    "optimizer.decay_start": FloatDistribution(0.0, 0.9),
                }
            ),
        ),
    ),
    objectives=(Objective(metric="rmse", unit="V"),),
    budget=Budget(trials=TRIALS, epochs=EPOCHS),
    stopping=(Rule(name="pbt", options={"interval": INTERVAL}),),
)


def searched(method: str, seed: int) -> Study:
    """One search of the comparison.

    Args:
        method: One of `METHODS`.
        seed: Of the study.
    """
    study = STUDY.replace(name=f"tanks_by_{method}", seed=seed)
    if method == "pbt":
        return study
    budget = replace(study.budget, trials=DRAWN, total_epochs=TRIALS * EPOCHS)
    rules = (Rule(name="divergence"), Rule(name="asha", options={"grace": INTERVAL}))
    return study.replace(budget=budget, stopping=rules)


def carried_out(study: Study, results: Path) -> Summary:
    """A run, which is launched, or gone on with where it has not ended.

    Args:
        study: What runs.
        results: Where runs lie.

    Raises:
        KeyboardInterrupt: It was interrupted.
    """
    known = [f.path for f in RunFolder.list(results, study.name) if _is_of(f, study)]
    outcome = resume(known[0]) if known else launch(study, results=results)
    if outcome.state == "interrupted":
        raise KeyboardInterrupt(outcome.reason)
    return load_summary(outcome.folder)


def _is_of(folder: RunFolder, study: Study) -> bool:
    """Whether a run is of this study."""
    then = load_study(folder.path)
    return (then.seed, then.fixed) == (study.seed, study.fixed)


def again(study: Study, winners: Iterable[Row]) -> Study:
    """The winners of searches, each trained exactly as it was, and scored on the test part.

    Args:
        study: Any of the searches.
        winners: Of all of them.
    """
    fixed = tuple(
        FixedTrial(
            family=row.family, params=row.params, seed=row.seed, schedule=row.schedule
        )
        for row in winners
    )
    return study.replace(
        name="tanks_winners",
        seed=0,
        fixed=fixed,
        stopping=(),
        evaluate="test",
        budget=Budget(trials=len(fixed), epochs=study.budget.epochs),
    )


def compared(tests: Mapping[str, Mapping[int, float]]) -> Paired:
    """`pbt` less `asha`, seed by seed.

    Args:
        tests: RMSE on the test part by method and seed.

    Raises:
        ValueError: A seed lacks one of the two.
    """
    pbt, asha = (tests[method] for method in METHODS)
    if set(pbt) != set(asha):
        raise ValueError(
            f"seeds without their other half: {sorted(set(pbt) ^ set(asha))}"
        )
    return paired([pbt[seed] - asha[seed] for seed in sorted(pbt)])


def told(tests: Mapping[str, Mapping[int, float]]) -> Iterable[str]:
    """The comparison in words, in mV."""
    for method in METHODS:
        found = mean_interval([1e3 * value for value in tests[method].values()])
        assert found is not None and found.low is not None and found.high is not None
        yield (
            f"{method:>4}: mean test rmse {found.mean:.2f} mV "
            f"[{found.low:.2f}, {found.high:.2f}]"
        )
    pair = compared(tests)
    yield (
        f"pbt - asha = {1e3 * pair.mean:+.2f} mV [{1e3 * pair.low:+.2f}, "
        f"{1e3 * pair.high:+.2f}], {pair.count} pairs, sign-flip p = {pair.p:.3f}"
    )


def compare(
    results: Path, seeds: Iterable[int], **changed: Any
) -> dict[str, dict[int, float]]:
    """Carry out every search, and score the winners.

    Args:
        results: Where runs lie.
        seeds: Of the searches.
        **changed: Fields of the studies that are set otherwise.

    Returns:
        RMSE on the test part in V by method and seed.

    Raises:
        ValueError: A search has no winner, or one gives other numbers when trained again.
    """
    winners: dict[tuple[str, int], Row] = {}
    for seed in seeds:
        for method in METHODS:
            summary = carried_out(searched(method, seed).replace(**changed), results)
            if summary.best is None:
                raise ValueError(f"{summary.folder} has no winner")
            winners[method, seed] = best = summary.best
            print(
                f"seed {seed}, {method:>4}: {sum(r.epochs for r in summary.rows)} epochs "
                f"of {len(summary.rows)} trials, valid {_mv(best.objective)}",
                flush=True,
            )
    study = again(searched("pbt", 0).replace(**changed), winners.values())
    summary = carried_out(study, results)
    events = events_of(summary.folder / "events.jsonl", Evaluated)
    scores = {event.trial: event.metrics["rmse"] for event in events}
    tests: dict[str, dict[int, float]] = {method: {} for method in METHODS}
    for number, ((method, seed), row) in enumerate(winners.items(), 1):
        if summary.row(number).objective != row.objective:
            raise ValueError(
                f"the winner by {method} of seed {seed} had {row.objective}, and has "
                f"{summary.row(number).objective} when it is trained again"
            )
        tests[method][seed] = scores[number]
        print(f"seed {seed}, {method:>4}: test {_mv(scores[number])}")
    return tests


def _mv(value: float | None) -> str:
    return "–" if value is None else f"{1e3 * value:.2f} mV"


def main() -> None:
    """Read the command line, search, and print the comparison."""
    parser = argparse.ArgumentParser(prog="python -m studies.tanks_pbt")
    parser.add_argument("--seeds", type=int, default=10, help="searches of each (10)")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--executor", default="local")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    resources = replace(
        STUDY.resources, executor=arguments.executor, workers=arguments.workers
    )
    found = compare(arguments.results, range(arguments.seeds), resources=resources)
    for line in told(found):
        print(line)


if __name__ == "__main__":
    main()
