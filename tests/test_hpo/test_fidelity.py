"""Rungs held against the end: runs made so that the truth is known, and scipy."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import statistics
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from optuna.distributions import FloatDistribution

from hpo.ledger.events import KINDS, Proposed, RunEvent
from hpo.report import details, fidelity, files, rungs, table
from hpo.report.fidelity import THRESHOLD
from hpo.report.summary import summarize
from hpo.statistics.ranks import restricted, spearman, spearman_interval
from hpo.study import Budget, Family, Objective, Rule, Study
from search_spaces.space import Space
from tests.test_hpo import sample_run
from tests.test_hpo.command_line import refused, run

FOLDER = Path("results/ranks/20260101-120000-0123abcd")
STUDY = Study(
    name="ranks",
    families=(
        Family(name="tcn", space=Space({"rate": FloatDistribution(0, 1)})),
        Family(name="rnn", space=Space({"rate": FloatDistribution(0, 1)})),
    ),
    objectives=(Objective(metric="rmse", unit="V"),),
    budget=Budget(trials=200, epochs=4),
    stopping=(Rule(name="asha", options={"grace": 2}),),
)


def told(curves, *, family="rnn"):
    """A ledger of trials with these values: whole ones completed, short ones stopped."""
    out = [RunEvent(action="launch")]
    for index, (number, curve) in enumerate(enumerate(curves, 1)):
        head = {"family": family, "number": index, "params": {"rate": 0.5}, "seed": 1}
        out.append(Proposed(trial=number, **head))

        def add(kind, number=number, **data):
            out.append(KINDS[kind](trial=number, attempt=1, **data))

        add("started", attempt_of="first", epoch=0)
        for epoch, value in enumerate(curve, 1):
            add(
                "epoch",
                epoch=epoch,
                train={"loss": 1.0},
                valid={"rmse": value},
                seconds=0.5,
                compile_seconds=0.0,
            )
        if len(curve) < 4:
            add("stopped", rule="asha", epoch=len(curve))
        else:
            add("completed", epoch=4)
    return out


def found(curves, study=STUDY):
    """The remark on the rung at epoch 2 of `rnn`."""
    summary = summarize(study, told(curves), folder=FOLDER)
    one = [f for f in summary.fidelity if f.family == "rnn"]
    assert [f.epoch for f in one] == [2]
    return one[0]


def whole(at, end):
    """A curve of four epochs that is at a value at the rung and ends with another."""
    return [at + 1.0, at, at, end]


def test_a_perfect_order_is_trusted_and_a_reversed_one_is_not():
    perfect = found([whole(10 + i, 0.1 * i) for i in range(8)])
    assert (perfect.correlation, perfect.trials, perfect.cut) == (1.0, 8, 0)
    assert perfect.low > THRESHOLD and not perfect.untrustworthy
    reversed_ = found([whole(10 - i, 0.1 * i) for i in range(8)])
    assert reversed_.correlation == -1.0
    assert reversed_.high < 0 and reversed_.untrustworthy


def test_maximizing_turns_both_sides():
    goal = dataclasses.replace(STUDY.objectives[0], direction="maximize")
    curves = [whole(-10.0 + i, i) for i in range(8)]
    assert found(curves, STUDY.replace(objectives=(goal,))).correlation == 1.0


@pytest.mark.parametrize("count", [0, 1, 3, 4])
def test_too_few_ends_claim_nothing(count):
    one = found([whole(10 - i, i) for i in range(count)] + [[9.0, 8.0]] * 7)
    assert (one.trials, one.cut) == (count, 7)
    assert (one.correlation, one.low, one.high, one.bar) == (None,) * 4
    assert not one.untrustworthy and "too little to say" in rungs.told(one)


def test_equal_values_claim_nothing():
    assert found([whole(5.0, i) for i in range(9)]).correlation is None
    assert found([whole(5.0 + i, 1.0) for i in range(9)]).correlation is None


def test_noise_is_called_noise_and_a_good_rung_is_not_accused():
    chance = random.Random(3)
    noise = [whole(chance.uniform(5, 9), chance.random()) for _ in range(40)]
    one = found(noise)
    assert one.low < 0 < one.high < THRESHOLD and one.untrustworthy
    levels = [chance.random() for _ in range(40)]
    good = [whole(5 + v + chance.gauss(0, 0.1), v) for v in levels]
    assert not found(good).untrustworthy and found(good).correlation > 0.8


def test_a_value_that_is_no_number_at_the_rung_is_the_worst_there():
    curves = [whole(10 + i, 0.1 * i) for i in range(7)]
    curves.append([9.0, math.nan, 5.0, 4.0])
    assert found(curves).correlation == 1.0


def test_the_cut_have_no_end_and_lower_the_bar():
    ends = [whole(10 - i, i) for i in range(6)]
    one, alone = found(ends + [[20.0, 19.0]] * 12 + [[20.0]] * 5), found(ends)
    assert (one.trials, one.cut) == (6, 12)  # five never reached the rung
    assert one.correlation == alone.correlation and alone.bar == THRESHOLD
    assert one.bar == restricted(THRESHOLD, share=1 / 3) < 0.25


def test_survivors_of_good_rungs_are_seldom_accused():
    """Successive halving on curves whose order at each rung is good (0.7 with the end)."""
    generator, accused, low = np.random.default_rng(4), 0, 0
    for _ in range(150):
        steps = generator.normal(size=(3, 180))
        first, second = steps[0], 0.84 * steps[0] + 0.54 * steps[1]
        last = 0.84 * second + 0.54 * steps[2]
        alive = np.argsort(first)[:60]
        alive = alive[np.argsort(second[alive])[:20]]
        ends = [whole(first[i], last[i] - 20) for i in alive]
        one = found(ends + [[9.0, 9.0]] * 160)
        accused += one.untrustworthy
        low += one.high < THRESHOLD  # what a bar that ignores the cut would say
    assert accused <= 0.05 * 150 < low


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=5, max_size=40
    ).filter(lambda p: all(len({*side}) > 1 for side in zip(*p, strict=True)))
)
def test_spearman_is_scipys(pairs):
    a, b = (list(map(float, side)) for side in zip(*pairs, strict=True))
    assert spearman(a, b) == pytest.approx(scipy.stats.spearmanr(a, b)[0], abs=1e-12)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("count", [6, 20])
def test_the_interval_holds_the_truth_as_often_as_it_says(rho, count):
    generator = np.random.default_rng(int(100 * rho) + count)
    pearson, repeats = 2 * math.sin(math.pi * rho / 6), 600
    held = 0
    for _ in range(repeats):
        x, e = generator.normal(size=(2, count))
        y = pearson * x + math.sqrt(1 - pearson**2) * e
        low, high = spearman_interval(spearman(x.tolist(), y.tolist()), count)
        held += low <= rho <= high
    assert 0.92 <= held / repeats <= 1.0


@pytest.mark.parametrize("share", [1 / 2, 1 / 3, 1 / 9])
def test_the_bar_is_what_a_cut_leaves_of_the_threshold(share):
    generator, count = np.random.default_rng(1), 200_000
    link = math.sqrt(2 * math.sin(math.pi * THRESHOLD / 6))
    step = math.sqrt(1 - link**2)
    x, e, f = generator.normal(size=(3, count))
    between = link * x + step * e
    end = link * between + step * f
    assert scipy.stats.spearmanr(x, end)[0] == pytest.approx(THRESHOLD, abs=0.01)
    at_rung = x > np.quantile(x, 1 - share)
    later = between > np.quantile(between, 1 - share)
    left = scipy.stats.spearmanr(x[later], end[later])[0]
    bar = restricted(THRESHOLD, share=share)
    # exact for Pearson's correlation; ranks of what a cut leaves are not quite normal's
    assert bar == pytest.approx(left, abs=0.025)
    assert scipy.stats.spearmanr(x[at_rung], end[at_rung])[0] > bar


def test_of_very_many_trials_every_nth_is_looked_at(monkeypatch):
    monkeypatch.setattr(fidelity, "MOST", 10)
    chance = random.Random(2)
    levels = [chance.random() for _ in range(35)]
    one = found([whole(5 + v, v) for v in levels] + [[9.0, 9.0]] * 70)
    assert (one.ended, one.trials, one.cut, one.correlation) == (35, 9, 70, 1.0)
    assert one.bar == restricted(THRESHOLD, share=1 / 3)
    assert "over 9 trials of 35; 70 more" in rungs.told(one)


def test_without_rungs_nothing_is_said():
    for rules in ((), (Rule(name="patience"),), (Rule(name="a rule of tomorrow"),)):
        study = STUDY.replace(stopping=rules)
        summary = summarize(study, told([whole(1, 2)] * 9), folder=FOLDER)
        assert summary.fidelity == ()


def test_every_bracket_has_its_rungs():
    study = STUDY.replace(
        stopping=(Rule(name="hyperband"),), budget=Budget(trials=20_000, epochs=81)
    )
    assert fidelity.rungs(study, "rnn") == (1, 3, 9, 27)
    assert statistics.fmean(fidelity.rungs(study, "tcn")) == 10


# -- what a person reads ------------------------------------------------------------------


def mixed():
    """One family whose rung misleads, with trials cut; nothing known of the other."""
    chance = random.Random(5)
    ends = [whole(9 - i / 10, 0.001 * (i + 1)) for i in range(14)]
    return [*ends, *([chance.uniform(20, 30), 19.0] for _ in range(28))]


@pytest.fixture
def misled():
    return summarize(STUDY, told(mixed()), folder=FOLDER)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_table_says_so_only_when_it_is_too_low(misled, width):
    text = table.render(misled.select(top=2), width=width).plain
    assert max(map(len, text.splitlines())) <= width
    sample_run.check_golden(f"table-misled-{width}.txt", text + "\n")
    fine = summarize(
        STUDY, told([whole(9 + i, 0.1 + i) for i in range(14)]), folder=FOLDER
    )
    assert "rung" not in table.render(fine, width=width).plain
    other = misled.select(family="tcn")
    assert "rung" not in table.render(other, width=width).plain


def test_show_and_the_markdown_report_hold_the_rungs(misled):
    text = details.render(misled, misled.row(3), width=80).plain
    part = text.partition("rungs\n")[2].partition("\n\n")[0]
    assert part.startswith("  rank correlation \u22121.00 (95 % interval")
    assert "over 14 trials; 28 more were" in " ".join(part.split())
    page = files.markdown(misled)
    sample_run.check_golden("rungs.md", page[page.index("## Rungs") :])


def write(folder, curves, study=STUDY):
    path = folder / study.name / FOLDER.name
    path.mkdir(parents=True)
    (path / "study.json").write_text(
        json.dumps({"schema": 1, "study": study.to_json(), "provenance": {}})
    )
    lines = (
        structs.replace(e, n=i, time=1.0).to_line()
        for i, e in enumerate(told(curves), 1)
    )
    (path / "events.jsonl").write_text("".join(lines))
    return path


def test_the_command_lists_every_rung(tmp_path):
    path = write(tmp_path, mixed())
    shown = run("results", path, "--rungs")
    assert shown.exit_code == 0
    sample_run.check_golden("rungs-80.txt", shown.stdout)
    (tcn, rnn) = json.loads(run("results", path, "--rungs", "--format", "json").stdout)
    assert tcn["trials"] == 0 and tcn["correlation"] is None
    assert (rnn["trials"], rnn["cut"], rnn["correlation"]) == (14, 28, -1.0)
    assert rnn["untrustworthy"] is True and tcn["untrustworthy"] is False
    lines = run("results", path, "--rungs", "--format", "csv").stdout.splitlines()
    assert lines[0].split(",")[:3] == ["family", "epoch", "budget"] and len(lines) == 3
    only = run("results", path, "--rungs", "--family", "tcn", "--format", "json")
    assert [f["family"] for f in json.loads(only.stdout)] == ["tcn"]
    marked = run("results", path, "--rungs", "--format", "markdown").stdout
    assert marked.splitlines()[0].startswith("| family | rung |")
    refused(run("results", path, "--rungs", "--top", 3), "--rungs", status=2)


def test_a_run_without_rungs_says_that(tmp_path):
    path = write(tmp_path, [whole(2, 1)], STUDY.replace(stopping=()))
    shown = run("results", path, "--rungs")
    assert shown.stdout == "" and "there are no rungs" in shown.stderr
    assert json.loads(run("results", path, "--rungs", "--format", "json").stdout) == []
