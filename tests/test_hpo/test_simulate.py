"""Replaying finished curves: the same Director, virtual time, honest pools."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from scipy import stats

sys.path.insert(0, str(Path(__file__).parent))
import run_processes as processes
from msgspec import structs

from hpo.errors import RunError, StudyError
from hpo.ledger.folder import RunFolder
from hpo.report import reach, regret
from hpo.seeds import derive
from hpo.simulate import compare, own
from hpo.simulate.pool import Pool
from hpo.simulate.task import Curve, Task
from hpo.simulate.virtual import decisions, simulate
from hpo.statistics.bootstrap import within_groups
from hpo.study import Budget, Family, Objective, Rule, Study
from models.training.protocol import Epoch
from search_spaces.space import Space
from tests.test_hpo import sample_run, simulated
from tests.test_hpo.command_line import refused, run

sys.path.pop(0)


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    processes.end_all()


def rows_and_curves(count, epochs=9, seconds=1.0):
    """Curves that fall towards a level which the rate decides; the level is the last."""
    rows, curves = [], []
    for i in range(count):
        rate = 10 ** (-4 * (i + 0.5) / count)
        level = (math.log10(rate) + 2) ** 2
        rows.append({"rate": rate, "kind": "ab"[i % 2]})
        curves.append(
            Curve(
                epochs=tuple(
                    Epoch(n, {}, {"rmse": level + 1 / n}, seconds)
                    for n in range(1, epochs + 1)
                )
            )
        )
    return rows, curves


SPACE = Space(
    {
        "rate": FloatDistribution(1e-4, 1.0, log=True),
        "kind": CategoricalDistribution(["a", "b"]),
    }
)


def pool(count=40):
    rows, curves = rows_and_curves(count)
    return Pool(space=SPACE, rows=rows, curves=curves)


def task(count=40, **changes):
    settings = {
        "name": "made",
        "curves": {"made": pool(count)},
        "epochs": 9,
        "objective": Objective(),
        "best": 1 / 9,
        "median": 1.2,
    }
    return Task(**{**settings, **changes})


# -- virtual time ---------------------------------------------------------------------------


class Simulated:
    """The curves of the simulated study of the tests, of any point."""

    size = None

    def __init__(self, space, epochs, seconds=lambda seed, n: 0.25):
        self.space, self.epochs, self.seconds = space, epochs, seconds

    def place(self, params, *, seed, uniform, taken):
        return dict(params)

    def curve(self, params, seed):
        numbers = range(1, self.epochs + 1)
        found = [simulated.curve(params, seed, n) for n in numbers]
        return Curve(
            epochs=tuple(
                Epoch(e.number, e.train, e.valid, self.seconds(seed, e.number))
                for e in found
            )
        )


def simulated_task(study, **options):
    return task(
        curves={
            f.name: Simulated(f.space, study.epochs_of(f.name), **options)
            for f in study.families
        }
    )


SCREENED = (Rule(name="screening", options={"epochs": 3, "keep": 2}),)


@pytest.mark.parametrize("sampler", ["random", "tpe", "qmc"])
@pytest.mark.parametrize(
    "stopping",
    [simulated.study().stopping, SCREENED, (Rule(name="hyperband"),)],
    ids=["asha", "screening", "hyperband"],
)
def test_one_worker_decides_as_the_hands_of_the_tests_do(sampler, stopping):
    study = simulated.study(sampler=Rule(name=sampler), stopping=stopping)
    loop = simulated.SimulatedLoop(study)
    loop.run()
    story = simulate(study, simulated_task(study))
    assert decisions(story.events) == decisions(loop.ledger.events)
    assert simulated.outcome(story.director) == simulated.outcome(loop.director)
    assert len(story.director.trials) == 12


@pytest.mark.parametrize("workers", [2, 3, 7])
def test_several_workers_report_in_the_order_of_virtual_time(workers):
    study = simulated.study(budget=Budget(trials=20, epochs=9))

    def seconds(seed, n):
        return 0.1 + derive(seed, "slow", n) / 2**32

    story = simulate(study, simulated_task(study, seconds=seconds), workers=workers)
    times = [e.elapsed for e in story.events]
    assert times == sorted(times)
    running, most, begun = set(), 0, {}
    for event in story.events:
        if event.event == "started":
            running.add(event.trial)
            begun[event.trial] = event.elapsed
        elif event.event == "epoch":
            passed = event.elapsed - begun[event.trial]
            assert passed == pytest.approx(event.seconds, abs=1e-9)
            begun[event.trial] = event.elapsed
        elif event.trial in running:
            running.remove(event.trial)
        most = max(most, len(running))
    assert most == workers and not running
    again = simulate(study, simulated_task(study, seconds=seconds), workers=workers)
    assert decisions(again.events) == decisions(story.events)


def test_the_epochs_of_the_budget_are_never_exceeded_and_the_best_is_known_then():
    study = simulated.study(budget=Budget(trials=50, epochs=9, total_epochs=60))
    story = simulate(study, simulated_task(study))
    assert story.director.epochs == 60
    for spent in (1, 4, 9, 10, 23, 41, 59, 60):
        shorter = study.replace(budget=Budget(trials=50, epochs=9, total_epochs=spent))
        best = simulate(shorter, simulated_task(study)).director.best()
        moment = story.best_at(epochs=spent)
        if best is not None:
            assert moment.ranked and moment.trial.number == best.number
        elif moment is not None:
            assert not moment.ranked
    assert story.best_at(epochs=0) is None


def test_a_longer_curve_than_there_is_cannot_be_replayed():
    rows, curves = rows_and_curves(6)
    cut = [Curve(epochs=c.epochs[:4], cut=True) for c in curves]
    short = task(curves={"made": Pool(space=SPACE, rows=rows, curves=cut)})
    study = Study(
        name="made",
        families=(Family(name="made", space=SPACE, trials=6),),
        budget=Budget(trials=6, epochs=9),
        stopping=(Rule(name="none"),),
    )
    with pytest.raises(RunError, match="after epoch 4"):
        simulate(study, short)


def test_a_curve_that_fails_or_ends_by_itself_does_so_again():
    rows, curves = rows_and_curves(2)
    curves = [
        Curve(epochs=curves[0].epochs[:2], failure="ValueError: no"),
        Curve(epochs=curves[1].epochs[:5]),
    ]
    ends = task(curves={"made": Pool(space=SPACE, rows=rows, curves=curves)})
    study = Study(
        name="made",
        families=(Family(name="made", space=SPACE, trials=2),),
        budget=Budget(trials=2, epochs=9),
        sampler=Rule(name="random"),
    )
    trials = simulate(study, ends).director.trials.values()
    assert {t.state: (t.last, t.reason) for t in trials} == {
        "failed": (2, "ValueError: no"),
        "completed": (5, "the learner ended after 5 of 9 epochs"),
    }


# -- pools ----------------------------------------------------------------------------------


def test_a_pool_gives_every_row_once_whatever_is_proposed():
    found, made = set(), pool(30)
    taken = set()
    for i in range(30):
        point = made.place(
            {"rate": 0.01, "kind": "a"}, seed=i, uniform=i % 2 == 0, taken=taken
        )
        assert SPACE.validate(point) == point
        found.add(point["rate"])
    assert len(found) == 30 and taken == set(range(30))


def test_the_nearest_free_row_counts_on_the_scale_of_the_space():
    rows, _ = rows_and_curves(40)
    made, taken = pool(40), set()
    for _ in range(40):
        asked = {"rate": 0.003, "kind": "b"}
        free = [r for i, r in enumerate(rows) if i not in taken]

        def apart(row):
            return (math.log10(row["rate"] / 0.003) / 4) ** 2 + (row["kind"] != "b")

        got = made.place(asked, seed=0, uniform=False, taken=taken)
        assert apart(got) == pytest.approx(min(map(apart, free)), abs=1e-12)


def test_draws_from_a_pool_are_uniform_over_its_rows():
    made = pool(8)
    counts = np.zeros(8)
    order = {r["rate"]: i for i, r in enumerate(rows_and_curves(8)[0])}
    for i in range(4000):
        point = made.place(
            {"rate": 1.0, "kind": "a"},
            seed=derive(i, "draw"),
            uniform=True,
            taken=set(),
        )
        counts[order[point["rate"]]] += 1
    assert stats.chisquare(counts).pvalue > 1e-4


def test_a_dimension_that_only_one_point_has_is_a_whole_side():
    space = Space(
        {"layers": IntDistribution(1, 3), "dropout": FloatDistribution(0.0, 1.0)}
    ).when("dropout", "layers", at_least=2)
    rows = [{"layers": 1}, {"layers": 2, "dropout": 0.9}, {"layers": 3, "dropout": 0.1}]
    curves = [Curve(epochs=(Epoch(1, {}, {"rmse": 1.0}),))] * 3
    made = Pool(space=space, rows=rows, curves=curves)

    def nearest(params):
        return made.place(params, seed=0, uniform=False, taken=set())

    assert nearest({"layers": 1}) == rows[0]
    assert nearest({"layers": 2, "dropout": 0.7}) == rows[1]
    assert nearest({"layers": 2, "dropout": 0.0}) == rows[2]


def test_the_sampler_is_told_of_the_row_that_was_trained():
    """A model finds the valley of the pool, at the rate 0.01, from rows alone."""
    study = Study(
        name="made",
        families=(Family(name="made", space=SPACE, trials=40),),
        budget=Budget(trials=40, epochs=9),
        sampler=Rule(name="tpe", options={"startup": 10}),
        stopping=(Rule(name="none"),),
    )
    known = {r["rate"] for r in rows_and_curves(400)[0]}
    late = []
    for seed in range(3):
        story = simulate(study.replace(seed=seed), task(400))
        rates = [t.params["rate"] for t in story.director.trials.values()]
        assert set(rates) <= known and len(set(rates)) == 40
        late += [abs(math.log10(r) + 2) for r in rates[20:]]
    assert np.mean(late) < 0.75  # of uniform rows 1.0, give or take 0.07


# -- regret ---------------------------------------------------------------------------------


def test_intervals_agree_with_scipy_on_one_task():
    values = np.random.default_rng(3).gamma(2.0, size=60)
    mean, low, high = within_groups(values.tolist(), ["a"] * 60, resamples=20_000)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile",
        random_state=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((theirs.low, theirs.high), rel=0.02)


def test_intervals_are_of_the_mean_on_these_tasks():
    values = [0.0] * 20 + [10.0] * 20  # tasks differ, studies of one task do not
    tasks = ["a"] * 20 + ["b"] * 20
    assert within_groups(values, tasks) == pytest.approx((5.0, 5.0, 5.0))


def test_intervals_of_few_studies_a_task_are_as_wide_as_their_spread_says():
    """Against the textbook variance of a stratified mean (Cochran, Sampling Techniques)."""
    random = np.random.default_rng(5)
    values = random.normal(size=(200, 2)) + 10 * random.normal(size=(200, 1))
    tasks = [f"{t}" for t in range(200) for _ in range(2)]
    mean, low, high = within_groups(values.ravel().tolist(), tasks)
    deviation = np.sqrt((2 * values.var(axis=1, ddof=1)).sum()) / values.size
    assert mean == pytest.approx(values.mean())
    assert high - low == pytest.approx(2 * 1.96 * deviation, rel=0.05)


def test_single_studies_are_drawn_as_one_task_and_one_alone_has_no_interval():
    values = [1.0, 2.0, 4.0, 8.0]
    together = within_groups(values, ["a"] * 4)
    assert within_groups(values, ["a", "b", "c", "d"]) == together
    assert within_groups([*values, 3.0], ["a", "a", "b", "b", "c"]) == (
        3.6,
        None,
        None,
    )


def test_differences_are_paired_and_studies_without_a_value_are_left_out():
    outcomes = []
    for study in range(30):
        base = float(study)
        for method, value in (("a", base), ("b", base + 0.5)):
            missing = method == "b" and study == 7
            outcomes.append(
                regret.Outcome(
                    method=method, study=study, task="t", budget=2, ranked=True,
                    regret=None if missing else value, trials=3, seconds=1.0,
                )
            )  # fmt: skip
    comparison = regret.Comparison(
        methods=("a", "b"), budgets=(2,), tasks=("t",), outcomes=tuple(outcomes)
    )
    first, second = regret.rows(comparison)
    assert first.difference is None and first.regret == pytest.approx(14.5)
    ends = second.difference, second.difference_low, second.difference_high
    assert ends == pytest.approx((0.5, 0.5, 0.5))
    assert second.regret == pytest.approx((435 - 7 + 29 * 0.5) / 29)
    text = regret.render([first, second])
    assert "+0.500" in text and max(map(len, text.splitlines())) <= 80


def test_halving_in_seconds_counts_what_a_draw_compiles():
    """Draws of 20 s and 0.9 s of training in 100 s: four, and then they are finished.

    A fifth would begin at 80.4 s and swallow what is left.
    """
    study = limited(100.0)
    story = simulate(study, task(curves={"made": compiling(20.0)}))
    assert story.director.counts() == {"completed": 4}
    assert story.director.elapsed == pytest.approx(4 * 20.9)


def test_halving_in_seconds_finishes_a_trial_while_others_compile():
    """Seven of eight workers compile beyond the end; the last one has time for itself."""
    for seed in range(6):
        made = compiling(5.0, slow=7)
        story = simulate(limited(30.0, seed), task(curves={"made": made}), workers=8)
        assert story.director.counts().get("completed", 0) >= 1


def compiling(seconds, *, slow=0):
    """40 curves of 0.9 s that compile before that, the first few for a minute."""
    rows, curves = rows_and_curves(40, seconds=0.1)
    found = []
    for place, known in enumerate(curves):
        first, *rest = known.epochs
        first = replace(first, compile_seconds=60.0 if place < slow else seconds)
        found.append(Curve(epochs=(first, *rest)))
    return Pool(space=SPACE, rows=rows, curves=found)


def limited(seconds, seed=0):
    return Study(
        name="made",
        families=(Family(name="made", space=SPACE, trials=40),),
        budget=Budget(trials=40, epochs=9, seconds=seconds),
        stopping=(Rule(name="halving"),),
        seed=seed,
    )


def comparison_of(values, *, budgets, task=lambda study: "t"):
    """Outcomes with the regrets of each method: `values[method][study][budget]`."""
    return regret.Comparison(
        methods=tuple(values),
        budgets=budgets,
        tasks=tuple(dict.fromkeys(map(task, range(len(next(iter(values.values()))))))),
        outcomes=tuple(
            regret.Outcome(
                method=m, study=i, task=task(i), budget=b, regret=v, ranked=True
            )
            for m, studies in values.items()
            for i, row in enumerate(studies)
            for b, v in zip(budgets, row, strict=True)
        ),
    )


def test_reach_by_hand():
    """Means 8, 4, 2 beside 9, 3, 1: 2 lies half of the way from 5 runs to 10."""
    none = [[7.0, 3.0, 1.0], [9.0, 5.0, 3.0]]
    quick = [[9.0, 2.0, 0.0], [9.0, 4.0, 2.0]]
    never = [[None, 3.0, 2.5], [8.0, 3.0, 2.5]]
    made = comparison_of(
        {"random none": none, "quick": quick, "never": never}, budgets=(2, 5, 10)
    )
    found = {r.method: r for r in reach.reaches(made, at=10)}
    assert found["random none"].runs == 10.0
    assert found["quick"].runs == pytest.approx(7.5)
    assert found["never"].runs == found["never"].high == math.inf
    # Of two studies one is drawn: 0 → 1 of 2 → 0 in one, 3 of 4 → 2 in the other.
    ends = (found["quick"].low, found["quick"].high)
    assert ends == pytest.approx((7.5, 7.5))
    assert reach.reaches(made, at=2)[1].runs == pytest.approx(2 + 3 * 1 / 6)
    text = reach.render(list(found.values()), at=10, budget=10)
    assert "  quick: 7.5 [7.5, 7.5]" in text and "  never: over 10 [" in text


def test_regret_by_task_is_that_of_its_studies():
    made = comparison_of(
        {"a": [[1.0], [2.0], [5.0]], "b": [[1.0], [4.0], [6.0]]},
        budgets=(2,),
        task=lambda study: "xy"[study % 2],
    )
    found = regret.rows_by_task(made)
    assert [(r.task, r.method, r.regret, r.difference) for r in found] == [
        ("x", "a", 3.0, None),
        ("x", "b", 3.5, 0.5),
        ("y", "a", 2.0, None),
        ("y", "b", 4.0, 2.0),
    ]
    text = regret.render_by_task(found)
    assert text.splitlines()[2:5] == ["x (2 studies)", "  a  3.000", "  b  3.500"]


def test_regret_is_counted_from_the_best_in_units_of_the_median():
    study = Study(
        name="made",
        families=(Family(name="made", space=SPACE, trials=40),),
        budget=Budget(trials=40, epochs=9),
        stopping=(Rule(name="none"),),
    )
    story = simulate(study, task())
    values = sorted(t.value for t in story.director.trials.values())
    whole = task(best=values[0], median=values[20])
    assert whole.regret(story.director.best()) == 0.0
    middle = next(t for t in story.director.trials.values() if t.value == values[20])
    assert whole.regret(middle) == pytest.approx(1.0)
    upside = task(best=5.0, median=3.0, objective=Objective(direction="maximize"))
    assert upside.regret(middle) == pytest.approx((5.0 - middle.value) / 2.0)


@pytest.mark.parametrize(
    ("budget", "expected"),
    [(1, (1,)), (2, (1, 2)), (20, (1, 2, 5, 10, 20)), (30, (1, 2, 5, 10, 20, 30))],
)
def test_the_ladder_of_budgets(budget, expected):
    assert compare.ladder(budget) == expected


@pytest.mark.parametrize("total", [40, 90, 333])
@pytest.mark.parametrize("epochs", [1, 5, 9])
@pytest.mark.parametrize("families", [1, 3])
def test_screening_pays_for_the_trials_it_says(total, epochs, families):
    """And for no more of them, by a recount: of each family two go on to their ends."""
    rule = Rule(name="screening", options={"epochs": epochs, "keep": 2})
    (method,) = compare.parse_methods("random", f"screening:epochs={epochs}:keep=2")
    assert method.stopping == (Rule(name="divergence"), rule)
    count = method.pausing().affordable(total, [9] * families)
    assert cost(count, families, epochs) <= total < cost(count + 1, families, epochs)
    names = [f"made{i}" for i in range(families)]
    study = Study(
        name="made",
        families=tuple(Family(name=name, space=SPACE) for name in names),
        budget=Budget(trials=count, epochs=9),
        sampler=Rule(name="random"),
        stopping=method.stopping,
    )
    story = simulate(study, task(curves=dict.fromkeys(names, pool(400))))
    assert story.director.epochs == cost(count, families, epochs)


def cost(count, families, epochs):
    """Epochs of so many trials, dealt to the families: the best two of each have 9."""
    mine = [len(range(i, count, families)) for i in range(families)]
    return sum(n * epochs + min(n, 2) * (9 - epochs) for n in mine)


@pytest.mark.parametrize("trials", [None, 25])
@pytest.mark.parametrize("runs", [3, 5, 10, 20])
def test_screening_finishes_the_best_of_every_family(runs, trials):
    """The budget of a simulated study pays for all that it begins, in each family."""
    own = task(curves={name: pool(20) for name in "abc"})
    (method,) = compare.parse_methods("random", "screening:epochs=2:keep=3")
    plan = compare.Plan(
        source=compare.Source(), tasks=("made",), methods=(method,),
        budgets=(runs,), studies=1, trials=trials,
    )  # fmt: skip
    found = simulate(compare._study(plan, method, own, 0, runs), own).director
    for name in "abc":
        mine = [t for t in found.trials.values() if t.family == name]
        assert {str(t.state) for t in mine} <= {"completed", "stopped"}
        assert sum(t.ranked for t in mine) == min(3, len(mine)) > 0
    assert found.epochs > 0.7 * runs * 9 or len(found.trials) >= (trials or 60) - 1


@pytest.mark.skipif(os.cpu_count() == 1, reason="one core has no workers")
def test_workers_end_with_a_simulation_that_is_killed():
    """They wait for work of a pool whose other end they hold themselves."""
    mark = f"simulated-{os.getpid()}"
    command = ["-m", "hpo.cli.main", "simulate", "own_curves", "--seeds", "2000"]
    with subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, "HPO_TEST_MARK": mark},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        processes.wait_until(lambda: len(processes.descendants(mark)) >= 3, 60)
        process.kill()
    processes.wait_until(lambda: not processes.descendants(mark), 30)


# -- runs -----------------------------------------------------------------------------------


def record_of(folder):
    return own.read(RunFolder(folder))


def assert_decided_the_same(record):
    agreement = own.retrace(record)
    assert not agreement.differing and agreement.decisions > 20
    story = simulate(record.study, own.as_recorded(record), workers=record.workers)
    assert decisions(story.events) == decisions(record.events)


def test_a_local_run_decides_the_same_in_virtual_time(tmp_path):
    answer = processes.outcome(processes.start(tmp_path))
    record = record_of(answer["folder"])
    assert record.study.sampler.name == "tpe" and record.workers == 1
    assert any(t.state == "stopped" for t in record.trials.values())
    assert_decided_the_same(record)


def test_a_run_that_pauses_trials_decides_the_same(tmp_path):
    answer = processes.outcome(processes.start(tmp_path, screening=[2, 2]))
    record = record_of(answer["folder"])
    assert any(e.event == "paused" for e in record.events)
    assert_decided_the_same(record)


@pytest.mark.slow
def test_a_run_of_ray_with_one_worker_decides_the_same(tmp_path):
    answer = processes.outcome(processes.start(tmp_path, executor="ray"))
    assert_decided_the_same(record_of(answer["folder"]))


@pytest.mark.slow
def test_a_run_of_ray_with_two_workers_decides_the_same_in_its_own_order(tmp_path):
    answer = processes.outcome(
        processes.start(tmp_path, executor="ray", workers=2, trials=12)
    )
    record = record_of(answer["folder"])
    assert record.workers == 2
    agreement = own.retrace(record)
    assert not agreement.differing and agreement.decisions > 40


@pytest.mark.slow
def test_where_no_order_matters_two_workers_of_ray_come_to_the_same(tmp_path):
    answer = processes.outcome(
        processes.start(tmp_path, executor="ray", workers=2, screening=[2, 6])
    )
    record = record_of(answer["folder"])
    assert not own.retrace(record).differing
    story = simulate(record.study, own.as_recorded(record), workers=2)
    theirs, ours = decisions(record.events), decisions(story.events)
    assert sorted(map(repr, ours)) == sorted(map(repr, theirs))


@pytest.mark.parametrize("at", [7, 15, 21])
def test_a_killed_and_resumed_run_decides_the_same(at, tmp_path):
    driver = processes.start(tmp_path, kill_at=at)
    processes.finish(driver)
    (folder,) = RunFolder.list(tmp_path)
    processes.outcome(processes.start(tmp_path, resume=str(folder.path)))
    agreement = own.retrace(record_of(folder.path))
    assert not agreement.differing and agreement.facts >= 1


def test_a_changed_decision_is_found(tmp_path):
    study = simulated.study()
    loop = simulated.SimulatedLoop(study)
    loop.run()
    events = loop.ledger.events
    record = own.Record(
        name="made", study=study, events=events, trials=loop.director.trials
    )
    assert not own.retrace(record).differing
    other = study.replace(
        stopping=(Rule(name="divergence"), Rule(name="asha", options={"eta": 2}))
    )
    found = own.retrace(
        own.Record(name="made", study=other, events=events, trials=record.trials)
    )
    head, *told = found.words()
    assert head.endswith("some would differ today") and len(told) <= 4
    assert "line " in told[0] and "nothing calls for that" in told[0]
    for index, event in enumerate(events):  # one value tampered with
        if event.event == "proposed" and event.trial == 5:
            params = {**event.params, "rate": 0.5}
            events[index] = structs.replace(event, params=params)
    changed = own.retrace(
        own.Record(name="made", study=study, events=events, trials=record.trials)
    )
    assert any("`proposed` of trial 5" in f.text for f in changed.differing)


def test_only_whole_curves_of_a_run_are_searched_again():
    study = simulated.study()
    loop = simulated.SimulatedLoop(study)
    loop.run()
    record = own.Record(
        name="made",
        study=study,
        events=loop.ledger.events,
        trials=loop.director.trials,
    )
    made = own.as_pool(record)
    states = [t.state for t in record.trials.values()]
    stopped = states.count("stopped")
    assert stopped and made.size == len(states) - stopped
    assert f"{made.size} of 12 curves are whole" in made.remarks[0]
    assert f"{stopped} stopped" in made.remarks[0]
    values = [t.value for t in record.trials.values() if t.ranked]
    assert made.best == min(values) and made.median == np.median(values)


# -- the command ----------------------------------------------------------------------------


@pytest.fixture
def recorded(tmp_path):
    """A finished run on disk, without processes."""
    study = simulated.study(
        name="made", budget=Budget(trials=16, epochs=9), stopping=(Rule(name="none"),)
    )
    loop = simulated.SimulatedLoop(study)
    loop.run()
    folder = RunFolder.create(tmp_path / "results", study)
    folder.write_study(study, provenance={})
    folder.events_file.write_text("".join(loop.ledger.lines))
    return folder


def test_simulate_prints_regret_for_a_run(recorded):
    given = ["made", "--results", recorded.path.parents[1], "--seeds", 5]
    methods = ["--sampler", "random,qmc", "--stopping", "none,asha:grace=2"]
    result = run("simulate", *given, *methods, "--format", "json")
    assert result.exit_code == 0, result.stderr
    assert "decisions come out the same again" in result.stderr
    assert "curves are whole" in result.stderr
    found = json.loads(result.stdout)
    names = ["random none", "qmc none", "random asha:grace=2", "qmc asha:grace=2"]
    assert list(dict.fromkeys(r["method"] for r in found)) == names
    assert [r["budget"] for r in found[:4]] == [1, 2, 5, 8]  # half of 16 curves
    assert all(r["studies"] == 5 for r in found)
    again = run("simulate", *given, *methods, "--format", "json")
    assert again.stdout == result.stdout
    table = run("simulate", *given, *methods)
    assert "differs: regret less that of `random none`" in table.stdout
    csv = run("simulate", *given, *methods, "--format", "csv")
    assert csv.stdout.startswith("method,budget,regret,low,high,difference,")


def test_simulate_looks_where_it_is_asked_to(recorded):
    given = ["made", "--results", recorded.path.parents[1], "--seeds", 3]
    result = run("simulate", *given, "--stopping", "none,asha", "--at", "5,1,3",
                 "--sampler", "random", "--reach", 3, "--by-task")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    blocks = result.stdout.split("─\n")
    assert [line.split()[2] for line in blocks[1].splitlines()[:1]] == ["1"]
    assert "made (3 studies)\n  random none" in result.stdout
    assert "regret that `random none` has after 3:\n  random none: " in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    steps = run("simulate", *given, "--stopping", "none", "--sampler", "random",
                "--reach", 4, "--format", "json", "--by-task")  # fmt: skip
    found = json.loads(steps.stdout)
    assert [r["budget"] for r in found] == 2 * [1, 2, 3, 4, 5, 8]
    assert [r["task"] for r in found] == 6 * [""] + 6 * ["made"]
    assert "after 4:" in steps.stderr


def test_simulate_draws_what_it_prints(recorded, tmp_path):
    given = ["made", "--results", recorded.path.parents[1], "--seeds", 5]
    methods = ["--sampler", "random,qmc", "--stopping", "none"]
    drawn = tmp_path / "regret.svg"
    result = run("simulate", *given, *methods, "--plot", drawn)
    assert result.exit_code == 0, result.stderr
    text = drawn.read_text()
    for words in ("random none", "qmc none", "full runs&apos; worth of epochs"):
        assert words in text or words.replace("&apos;", "'") in text, words
    run("simulate", *given, *methods, "--plot", tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == drawn.read_bytes()


def test_processes_do_not_change_the_result(recorded):
    source = compare.Source(run=recorded.path)
    plan = compare.Plan(
        source=source,
        tasks=("made",),
        methods=compare.parse_methods("tpe:startup=3,random", "asha"),
        budgets=(1, 3),
        studies=4,
    )
    one, two = (compare.compare(plan, processes=n) for n in (1, 2))
    assert one == two and len(one.outcomes) == 2 * 2 * 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], ("no run `nothing`", "hpo_nmt")),
        (["made", "--stopping", "ahsa"], ("ahsa", "asha")),
        (["made", "--sampler", "tpe:starup=2"], ("starup", "startup")),
        (["made", "--stopping", "asha:eta"], ("OPTION=VALUE",)),
        (["made", "--stopping", "asha:eta=1"], ("asha: eta must be",)),
        (["made", "--stopping", ","], ("names nothing",)),
        (["made", "--stopping", "asha@"], ("`--sampler` names nothing",)),
        (["made", "--stopping", "asha@rnadom"], ("unknown sampler `rnadom`",)),
        (["made", "--baseline", "tpe ahsa"], ("none of the methods",)),
        (["made", "--tasks", "x"], ("tasks of a table",)),
        (["made", "--at", "2,x"], ("full runs of at least 1", "--at 2,5,10")),
        (["made", "--at", "2,9", "--budget", 8], ("up to the budget of 8",)),
        (["made", "--reach", 2], ("`random none`", "add `none`")),
        (
            ["made", "--stopping", "none", "--sampler=random", "--reach=9"],
            ("after 1, 2, 3", "add 9 to `--at`"),
        ),
        (["made", "--plot", "regret.gif"], ("ends in .svg", "regret.svg")),
        (["made", "--plot", "no/where.svg"], ("no folder `no`", "mkdir -p no")),
        (["some/hpo_nmt"], ("no run `some/hpo_nmt`", "or a table")),
        (["hpo_nmt"], ("no data folder", "--data DIR")),
        (["hpo_nmt", "--data", "."], ("there is no `hpo_nmt`", "HPO_DATA")),
    ],
)
def test_mistakes_are_told(arguments, words, recorded, monkeypatch):
    monkeypatch.delenv("HPO_DATA", raising=False)
    result = run("simulate", *arguments, "--results", recorded.path.parents[1])
    assert result.exit_code == 1 and result.stdout == "", result.output
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr, result.stderr


@pytest.mark.parametrize("table", ["hpo_nmt", "hpo_fcnet", "hpo_lcbench_surrogate"])
def test_a_damaged_table_is_named(table, tmp_path):
    pytest.importorskip("onnxruntime") if "lcbench" in table else None
    folder = tmp_path / table
    folder.mkdir()
    refused(run("simulate", table, "--data", tmp_path), table)
    for name in ("hpo_nmt.hdf5", "hpo_fcnet.hdf5", "model.onnx"):
        (folder / name).write_bytes(b"no table at all")
    (folder / "encoding.json").write_text('{"OpenML_task_id": {"1": 1}}')
    (folder / "config_space.json").write_text(
        '{"hyperparameters": [{"name": "OpenML_task_id", "choices": ["1"]}]}'
    )
    refused(run("simulate", table, "--data", tmp_path), table)


def test_a_run_with_nothing_ranked_is_refused(tmp_path):
    folder = sample_run.write(tmp_path / "results")
    lines = (folder / "events.jsonl").read_text().splitlines(keepends=True)
    (folder / "events.jsonl").write_text(lines[0])
    refused(
        run("simulate", "latest", "--results", tmp_path / "results"),
        "ranked trials",
        "hint",
    )


def names_of(samplers, stopping, own=None):
    return [m.name for m in compare.parse_methods(samplers, stopping, own)]


def test_options_may_be_joined():
    found = compare.parse_methods("tpe,qmc:sequence=halton", "asha,screening@random")
    names = ["tpe asha", "qmc:sequence=halton asha", "random screening"]
    assert [m.name for m in found] == names
    assert found[1].sampler.options == {"sequence": "halton"}
    (joined,) = compare.parse_methods("random", "asha:eta=4+patience:epochs=3")
    assert [r.name for r in joined.stopping] == ["divergence", "asha", "patience"]


def test_default_is_a_new_studys_and_own_the_runs():
    study = simulated.study(stopping=(Rule(name="asha", options={"grace": 2}),))
    new = Study(name="new", families=study.families)
    found = compare.parse_methods("default,own", "default,own", study)
    assert [(m.sampler, m.stopping) for m in found] == [
        (sampler, stopping)
        for stopping in (new.stopping, study.stopping)
        for sampler in (new.sampler, study.sampler)
    ]
    samplers = ("random", "tpe:startup=3")
    assert [m.name for m in found] == [
        *(f"{name} halving" for name in samplers),
        *(f"{name} asha:grace=2 without divergence" for name in samplers),
    ]
    assert compare.parse_methods("default", "default") == found[:1]
    for given in (("own", "none"), ("random", "own"), ("random", "none@own")):
        with pytest.raises(StudyError, match="a table is no run"):
            compare.parse_methods(*given)


def test_a_method_that_is_there_by_other_words_is_there_once():
    assert names_of("random,random", "none") == ["random none"]
    assert names_of("random", "default,halving,halving:eta=4") == ["random halving"]
    names = ["random halving", "tpe halving", "random halving:eta=5"]
    given = "default,halving@tpe,halving:eta=5@random"
    assert names_of("random,tpe", given) == names
    diverging = simulated.study(stopping=(Rule(name="divergence"),))
    assert names_of("random,tpe", "own,none,screening", diverging) == [
        f"{s} {r}" for r in ("none", "screening") for s in ("random", "tpe")
    ]
    optuna = {"pruner": "MedianPruner", "n_startup_trials": 2}
    other = simulated.study(
        stopping=(Rule(name="divergence"), Rule(name="optuna", options=optuna))
    )
    assert len(names_of("random", "own,optuna,optuna:pruner=MedianPruner", other)) == 2
