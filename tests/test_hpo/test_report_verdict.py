"""The report of a confirmed run: its verdict against numpy and scipy, and who is bold."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import re
import statistics
from dataclasses import replace

import numpy as np
import pytest
from optuna.distributions import FloatDistribution
from scipy import stats

from hpo.confirmation import sentences as said
from hpo.confirmation import winners
from hpo.report import formats
from hpo.report.page import content, draw_verdict, methods, sections, sentences, style
from hpo.report.summary import summary_of
from hpo.statistics.means import Interval
from hpo.study import Budget, Family, Objective, Rule, Study
from hpo.trials.record import RunRecord, Trial
from hpo.trials.states import State
from tests.test_hpo import sample_run
from tests.test_hpo.test_confirmation_text import confirmation


def told(tmp_path, **changes):
    """The sample run, whose trials 1 (rnn) and 2 (linear) were confirmed."""
    found = content.load(sample_run.write(tmp_path))
    settled = confirmation(("rnn", "linear"), **changes)
    return replace(
        found,
        summary=replace(found.summary, finished=True),
        confirmation=settled,
    )


def test_the_verdict_is_the_first_line_and_the_caveats_are_near(tmp_path):
    found = told(tmp_path, reads=2)
    head = sentences.headline(found)
    assert head.settled and head.first == (said.headline(found.confirmation),)
    facts = dict(head.facts)
    assert facts["Verdict"].startswith(
        "rnn is better than linear, by enough to matter: "
    )
    assert facts["How sure"].startswith("10 new seeds each over the test part.")
    assert "Not blind: the test part was read twice before." in facts["How sure"]


def test_an_unfinished_confirmation_settles_nothing(tmp_path):
    found = told(tmp_path, look=0, stage="choose")
    head = sentences.headline(found)
    assert not head.settled
    assert head.first == ("Nothing is settled: the candidates are being chosen.",)
    assert sections.sections(found)[0].empty
    assert "textbf" not in methods.table(found)


def test_every_number_of_the_verdict_is_numpys_and_scipys(tmp_path):
    found = told(tmp_path)
    table = next(s for s in sections.sections(found) if s.name == "verdict").table
    lines = [dict(zip(table.heads, row, strict=True)) for row in table.rows]
    assert [line["family"] for line in lines] == ["rnn", "linear"]
    for line, contender in zip(lines, found.confirmation.contenders, strict=True):
        tests = [s.test["rmse"] for s in contender.winner.seeds]
        mean, spread, count = re.fullmatch(
            r"(\S+) ± (\S+) \((\d+)\)", line["test"]
        ).groups()
        assert float(mean) == pytest.approx(1e3 * statistics.fmean(tests), abs=0.006)
        assert float(spread) == pytest.approx(1e3 * statistics.stdev(tests), abs=0.006)
        assert int(count) == len(tests) == 10
        low, high = map(float, line["95 % interval"].split(" … "))
        if statistics.stdev(tests) > 1e-9:
            error = stats.sem(tests)
            wanted = stats.t.interval(0.95, 9, statistics.fmean(tests), error)
            assert [low, high] == pytest.approx([1e3 * w for w in wanted], abs=0.006)


def test_the_pairs_figure_holds_the_ratio_of_geometric_means(tmp_path):
    found = told(tmp_path)
    looks = style.looks(["rnn", "linear"])
    (pairs,) = draw_verdict.pairs(found, looks)
    (row,) = csv.DictReader(io.StringIO(formats.csv_text(pairs.rows, pairs.heads)))
    values = {
        c.family: np.log([s.test["rmse"] for s in c.winner.seeds])
        for c in found.confirmation.contenders
    }
    assert float(row["effect"]) == pytest.approx(
        math.exp(values["rnn"].mean() - values["linear"].mean())
    )
    # Linear's values are all equal: Welch's interval is that of rnn's mean alone.
    gap = values["rnn"].mean() - values["linear"].mean()
    wanted = stats.t.interval(1 - 0.04, 9, gap, stats.sem(values["rnn"]))
    assert float(row["low"]) == pytest.approx(math.exp(wanted[0]), rel=1e-6)
    assert float(row["high"]) == pytest.approx(math.exp(wanted[1]), rel=1e-6)
    assert (float(row["least"]), float(row["most"])) == pytest.approx((1 / 1.05, 1.05))
    (confirmed,) = draw_verdict.confirmed(found, looks)
    drawn = [r["value"] for r in confirmed.rows if r["family"] == "rnn"]
    assert drawn == pytest.approx(np.exp(values["rnn"]).tolist())
    for drawing in (pairs, confirmed):
        assert drawing.files(["svg"])["svg"].startswith(b"<?xml")


def drawn(study, trials):
    """The summary of trials given as (origin, state, value)."""
    known = {
        n: Trial(
            number=n,
            family="rnn",
            index=n - 1,
            params={"rate": n / 100},
            seed=n,
            budget=30,
            origin=origin,
            state=State(state),
            value=value,
            best_epoch=1,
        )
        for n, (origin, state, value) in enumerate(trials, 1)
    }
    return summary_of(study, RunRecord(trials=known), folder=None)


RANDOM = Study(
    name="pump",
    families=(Family(name="rnn", space={"rate": FloatDistribution(0, 1)}),),
    sampler=Rule(name="random"),
    stopping=(Rule(name="divergence"), Rule(name="patience")),
    budget=Budget(trials=9, epochs=30),
)
TRIALS = [
    *(("random", "completed", v) for v in (0.5, 0.2, 0.4)),
    ("random", "converged", 0.3),
    # what no independent draw trained to its end came to
    *(("first", "completed", 0.01), ("carried", "completed", 0.02)),
    *(("random", "stopped", 0.9), ("random", "diverged", 0.8)),
    ("random", "cancelled", 0.7),
]


def test_fewer_trials_are_told_of_independent_draws_alone():
    found = winners.best_of(drawn(RANDOM, TRIALS), "rnn")
    values = (0.5, 0.2, 0.4, 0.3)
    wanted = {
        n: np.mean([min(draw) for draw in itertools.product(values, repeat=n)])
        for n in (1, 2, 4)
    }
    assert dict(found) == pytest.approx(wanted)
    assert winners.best_of(drawn(RANDOM, TRIALS[4:]), "rnn") == ()


@pytest.mark.parametrize(
    "changes",
    [
        *({"stopping": (Rule(name=r),)} for r in ("asha", "halving", "median")),
        {"objectives": (Objective(metric="rmse", limit=0.4),)},
    ],
    ids=["asha", "halving", "median", "limit"],
)
def test_fewer_trials_are_not_told_where_others_decide(changes):
    study = RANDOM.replace(**changes)
    assert winners.best_of(drawn(study, TRIALS), "rnn") == ()


def test_why_fewer_trials_are_not_told_is_said():
    found = confirmation(("rnn",))
    assert sections.fewer_trials(replace(found, study=RANDOM)) == ()
    asha = RANDOM.replace(stopping=(Rule(name="divergence"), Rule(name="asha")))
    (text,) = sections.fewer_trials(replace(found, study=asha))
    assert "`asha` ended trials for what others did" in text
    assert text.startswith("What fewer trials would find")
    tpe = asha.replace(sampler=Rule(name="tpe"))
    assert sections.fewer_trials(replace(found, study=tpe)) == ()


def test_of_whom_fewer_trials_are_not_told_is_said_where_they_are_of_others(tmp_path):
    """A rule cannot compare trials of one epoch, so `linear` has a figure, and is named."""
    found = confirmation(("rnn", "linear"))
    study = RANDOM.replace(
        families=(*RANDOM.families, Family(name="linear", space={}, epochs=1)),
        stopping=(Rule(name="asha"),),
    )
    (text,) = sections.fewer_trials(replace(found, study=study))
    assert text.startswith("What fewer trials of rnn would find is not told")
    rnn, linear = found.contenders
    best = replace(
        linear, winners=(replace(linear.winner, best_of=((1, 2.0), (2, 1.0))),)
    )
    told_of = told(tmp_path)
    told_of = replace(told_of, confirmation=replace(found, contenders=(rnn, best)))
    looks = style.looks(["rnn", "linear"])
    (drawing,) = draw_verdict.best_of(told_of, looks)
    assert drawing.title == "Expected best of n trials of linear"


def test_the_table_of_the_verdict_says_what_its_numbers_are(tmp_path):
    found = told(tmp_path)
    section = sections.sections(found)[0]
    (text,) = section.texts
    assert text.startswith(
        "rmse [mV] of new seeds over the validation part and over the "
    )
    assert "mean ± standard deviation (number of seeds)" in text
    assert section.table.heads[3:5] == ["validation", "test"]


def test_optimism_of_what_is_to_be_large_names_its_sign():
    """Search 0.9, new seeds 0.8 … 0.95: the search less validation is what is positive."""
    found = confirmation(("rnn",))
    study = found.study.replace(
        objectives=(Objective(metric="fit", direction="maximize"),)
    )
    (contender,) = found.contenders
    gap = Interval(mean=0.025, low=-0.05, high=0.1, deviation=0.1, count=5)
    winner = replace(contender.winner, search=0.9, optimism=gap, expected_optimism=None)
    contender = replace(contender, winners=(winner,))
    text = said.optimism(replace(found, study=study), contender)
    assert "search less validation: +0.025 [−0.050, +0.100]" in text


def test_only_whom_the_verdict_names_is_bold(tmp_path):
    found = told(tmp_path)
    table = methods.table(found)
    (bold,) = re.findall(r"\\textbf\{([^}]*)\}", table)
    (line,) = [line for line in table.splitlines() if "textbf" in line]
    assert line.strip().startswith("rnn & ") and r"\pm" in bold
    even = replace(
        found,
        confirmation=replace(
            found.confirmation,
            pairs=tuple(
                replace(p, verdict=said.Verdict.SAME) for p in found.confirmation.pairs
            ),
        ),
    )
    assert "textbf" not in methods.table(even)
    words = methods.paragraph(found)
    assert (
        "10 new seeds each" in words and "differences below 5% do not matter" in words
    )


def test_seeds_that_chose_and_changed_configurations_are_no_fresh_seeds(tmp_path):
    place = sample_run.write(tmp_path)
    lines = (place / "events.jsonl").read_text()
    count = lines.count("\n")
    for kind, folder, value in (
        ("seeds", "a", 0.001),
        ("seeds", "b", 0.5),  # trained longer
        ("choose", "c", 0.0001),
        ("seeds", "d", 0.002),
    ):
        count += 1
        event = {
            "schema": 1,
            "n": count,
            "time": 1.0,
            "elapsed": 50.0,
            "event": "rerun",
        }
        event |= {"trial": 1, "attempt": None, "kind": kind, "seeds": [1]}
        event |= {"values": [value], "tests": [{"rmse": value}], "folder": folder}
        lines += json.dumps(event) + "\n"
        child = place / "reruns" / folder
        child.mkdir(parents=True)
        record = json.loads((place / "study.json").read_text())
        record["rerun"] = {"changed": "300 epochs" if folder == "b" else ""}
        (child / "study.json").write_text(json.dumps(record))
    (place / "events.jsonl").write_text(lines)
    found = content.load(place)
    assert found.families[0].fresh == found.families[0].tested == (0.001, 0.002)
    assert [r.changed for r in found.history.reruns] == ["", "300 epochs", "", ""]
