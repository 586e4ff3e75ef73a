"""What do semantic tokens add to an inverted transformer? Ten pairs of equal seeds.

    HPO_DATA=... hpo launch augmenter --executor local --workers 2
    python -m studies.augmenter results/augmenter/RUN

ETTm1, 96 rows ahead of 96: one configuration of `forecaster`, trained without the augmenter
(`none`) and with it (`add`), ten seeds each and the same ones for both. Fresh, `add` is `none` (its
last map begins at zero), so a pair begins with the same weights, batches and answers. The best
epoch of each by validation is scored on the test part; the second command prints the mean
difference, its 95 % interval and the exact p-value of the sign-flip test.

Measured on 2026-11-29, 2 cores, 5 min 53 s: **no difference can be seen**.

    mse: add - none = +0.00043 [-0.00141, +0.00227], 10 pairs, sign-flip p = 0.596
    mae: add - none = -0.00133 [-0.00308, +0.00042], 10 pairs, sign-flip p = 0.119
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from hpo.fixed import FixedTrial
from hpo.ledger.events import Evaluated
from hpo.ledger.log import events_of
from hpo.report.summary import load_summary
from hpo.statistics.paired import Paired, paired
from hpo.study import Budget, Family, Objective, Rule, Study
from search_spaces import forecaster

SEEDS = tuple(range(1, 11))
MODES = ("none", "add")
_SPACE = forecaster.SPACE.replace(
    {
        "data.batches": 200,
        "model.d_model": 64,
        "model.hidden_size": 64,
        "model.blocks": 1,
        "model.calendar": True,
        "model.cycle": 96,
        "model.linear": True,
        "model.mixing": False,
        "model.normalization": "plain",
        "model.dropout": 0.2,
        "augmenter.dropout": 0.1,
        "loss.kind": "mae",
        "optimizer.learning_rate": 3e-3,
        "optimizer.weight_decay": 1e-3,
        "optimizer.average": 0.99,
        "optimizer.decay_start": 0.0,
    }
)

STUDY = Study(
    name="augmenter",
    data="ettm1",
    task={"name": "forecast", "horizon": 96, "calendar": True},
    families=tuple(
        Family(
            name=mode,
            create="models.forecaster:create",
            space=_SPACE.replace({"augmenter.mode": mode}),
        )
        for mode in MODES
    ),
    fixed=tuple(
        FixedTrial(family=mode, params={}, seed=seed)
        for seed in SEEDS
        for mode in MODES
    ),
    evaluate="test",
    objectives=(Objective(metric="mse"),),
    budget=Budget(trials=2 * len(SEEDS), epochs=10),
    stopping=(Rule(name="divergence"),),
)


def compared(
    tests: Mapping[tuple[str, int], Mapping[str, float]], metric: str
) -> Paired:
    """`add` less `none`, pair by pair.

    Args:
        tests: The test part's scores by family and seed.
        metric: What is compared.

    Raises:
        ValueError: A seed lacks one of the two.
    """
    none, add = (
        {
            seed: scores[metric]
            for (family, seed), scores in tests.items()
            if family == m
        }
        for m in MODES
    )
    if set(none) != set(add):
        raise ValueError(
            f"seeds without their other half: {sorted(set(none) ^ set(add))}"
        )
    return paired([add[seed] - none[seed] for seed in sorted(none)])


def tests_of(folder: Path) -> dict[tuple[str, int], Mapping[str, float]]:
    """The test part's scores of a run of this study, by family and seed."""
    trials = {row.trial: (row.family, row.seed) for row in load_summary(folder).rows}
    return {
        trials[event.trial]: event.metrics
        for event in events_of(folder / "events.jsonl", Evaluated)
        if event.metrics
    }


def main(folder: str) -> None:
    """Print the comparison.

    Args:
        folder: Of a run of this study that has ended.
    """
    tests = tests_of(Path(folder))
    for metric in ("mse", "mae"):
        found = compared(tests, metric)
        print(
            f"{metric}: add - none = {found.mean:+.5f} [{found.low:+.5f}, {found.high:+.5f}], "
            f"{found.count} pairs, sign-flip p = {found.p:.3f}"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
