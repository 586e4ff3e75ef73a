"""The report of a run: its numbers against the ledger's lines, its words, its files, bad input."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hpo.errors import RunError
from hpo.ledger.folder import RunFolder
from hpo.report import formats, numbers
from hpo.report.importance import importances
from hpo.report.page import (
    content,
    draw_results,
    draw_search,
    draw_space,
    folder,
    html,
    methods,
    parts,
    sentences,
    style,
    text,
)
from hpo.report.page.history import read
from hpo.report.page.panels import Slice
from hpo.report.repeats import Repeat
from hpo.report.verdicts import Seeded
from hpo.schedule import Change
from hpo.statistics.means import Interval
from tests.test_hpo import sample_run
from tests.test_hpo.command_line import refused, run

ROOT = Path(__file__).parent.parent.parent
RECORDED = ROOT / "tests" / "recorded" / "run"


class Reader(HTMLParser):
    """The tables, texts and tags of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tables, self.tags, self.text, self.at = [], [], [], []
        self.cell = None

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr" and self.tables:
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.cell = []

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.tables[-1][-1].append("".join(self.cell))
            self.cell = None

    def handle_data(self, data):
        self.text.append(data)
        if self.cell is not None:
            self.cell.append(data)


def parsed(page: bytes) -> Reader:
    reader = Reader()
    reader.feed(page.decode())
    return reader


def rows_of(found, name):
    return list(csv.DictReader(io.StringIO(found[f"figures/{name}.csv"].decode())))


def words_of(place):
    """Page, Markdown and paper of a run, without the figures' further files."""
    told = content.load(place)
    part = parts.of_run(told)
    made = part.drawings
    figures = {d.name: d.files(["svg"])["svg"] for d in made}
    return {
        "index.html": html.render([part], figures).encode(errors="replace"),
        "report.md": text.render([part]).encode(errors="replace"),
        "paper.tex": folder.paper(told).encode(),
        "leaderboard.json": formats.to_json(told.summary).encode(),
        **{
            f"figures/{d.name}.csv": formats.csv_text(d.rows, d.heads).encode()
            for d in made
        },
    }


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A recorded run, and the files of its report."""
    place = tmp_path_factory.mktemp("results") / "recorded" / "20260101-120000-0123abcd"
    shutil.copytree(RECORDED, place)
    return place, words_of(place)


class Ledger:
    """What the lines of `events.jsonl` say, read without the project."""

    def __init__(self, place: Path) -> None:
        lines = (place / "events.jsonl").read_text().splitlines()
        self.events = [json.loads(line) for line in lines]
        self.curves = defaultdict(dict)
        self.family, self.seconds, self.end, self.size = {}, defaultdict(float), {}, {}
        for e in self.events:
            trial = e["trial"]
            if e["event"] == "proposed":
                self.family[trial] = e["family"]
            elif e["event"] == "epoch" and e["epoch"] not in self.curves[trial]:
                self.curves[trial][e["epoch"]] = float(e["valid"].get("rmse", "nan"))
                self.seconds[trial] += e["seconds"]
                self.size[trial] = e.get("parameters") or self.size.get(trial)
            elif e["event"] in (
                "completed",
                "converged",
                "stopped",
                "diverged",
                "failed",
            ):
                self.end[trial] = e["event"]

    def best(self, trial):
        finite = [v for v in self.curves[trial].values() if math.isfinite(v)]
        return min(finite, default=None)

    @property
    def ranked(self):
        """Trials from the best one on."""
        whole = [t for t, end in self.end.items() if end in ("completed", "converged")]
        return sorted((t for t in whole if self.best(t) is not None), key=self.best)


def test_of_many_trials_the_page_holds_all_and_shows_the_first(recorded, monkeypatch):
    whole = parsed(recorded[1]["index.html"]).tables[0]
    monkeypatch.setattr(html, "_OPEN", 5)
    reader = parsed(words_of(recorded[0])["index.html"])
    first, others = reader.tables[:2]
    assert first == whole[:6] and others == [whole[0], *whole[6:]]
    assert "The other 11 trials" in reader.text
    assert not any(t == ("details", {"class": "rest", "id": "rest"})
                   for t in parsed(recorded[1]["index.html"]).tags)  # fmt: skip


@pytest.fixture(scope="module")
def ledger(recorded):
    return Ledger(recorded[0])


def test_every_number_of_the_leaderboard_is_that_of_the_ledger(recorded, ledger):
    table = parsed(recorded[1]["index.html"]).tables[0]
    heads, *rows = table
    assert heads[:4] == ["rank", "trial", "family", "rmse [mm]"]
    assert [int(r[1]) for r in rows if r[0] != "–"] == ledger.ranked
    assert {int(r[1]) for r in rows} == set(ledger.family)
    column = {name: i for i, name in enumerate(heads)}
    for row in rows:
        trial = int(row[1])
        assert row[column["family"]] == ledger.family[trial]
        value = ledger.best(trial)
        if value is None:
            assert row[3] == "–"
        else:
            assert float(row[3]) == pytest.approx(value * 1000, rel=1e-3)
        epochs = max(ledger.curves[trial], default=0)
        assert row[column["epochs"]].split("/")[0] == str(epochs)
        told = float(row[column["seconds"]].replace(",", ""))
        assert told == pytest.approx(ledger.seconds[trial], rel=0.01, abs=0.006)
        size = row[column["parameters"]].replace(",", "")
        assert size == ("–" if not ledger.size.get(trial) else str(ledger.size[trial]))
    board = json.loads(recorded[1]["leaderboard.json"])
    assert {r["trial"]: r["objective"] for r in board} == {
        t: ledger.best(t) for t in ledger.family
    }


def test_every_number_of_the_families_is_that_of_the_ledger(recorded, ledger):
    table = parsed(recorded[1]["index.html"]).tables[1]
    heads, *rows = table
    order = list(dict.fromkeys(ledger.family[t] for t in ledger.ranked))
    assert [r[0] for r in rows][: len(order)] == order
    seeds = [e for e in ledger.events if e["event"] == "rerun" and e["kind"] == "seeds"]
    for row in rows:
        mine = [t for t, f in ledger.family.items() if f == row[0]]
        ranked = [t for t in ledger.ranked if t in mine]
        told = dict(zip(heads, row, strict=True))
        assert told["trials"] == str(len(mine)) and told["ranked"] == str(len(ranked))
        epochs = sum(len(ledger.curves[t]) for t in mine)
        assert told["epochs"] == str(epochs)
        seconds = sum(ledger.seconds[t] for t in mine)
        assert float(told["seconds"]) == pytest.approx(seconds, rel=0.01, abs=0.006)
        if not ranked:
            assert told["rmse [mm]"] == told["trial"] == "–"
            continue
        assert told["trial"] == str(ranked[0])
        value = ledger.best(ranked[0]) * 1000
        assert float(told["rmse [mm]"]) == pytest.approx(value, rel=1e-3)
        again = [v for e in seeds if e["trial"] == ranked[0] for v in e["values"]]
        if again:
            mean, spread = statistics.fmean(again), statistics.stdev(again)
            found = re.fullmatch(r"(\S+) ± (\S+) \((\d+)\)", told["fresh seeds"])
            assert float(found[1]) == pytest.approx(mean * 1000, rel=1e-3)
            assert float(found[2]) == pytest.approx(spread * 1000, rel=0.02, abs=0.006)
            assert int(found[3]) == len(again)
        else:
            assert told.get("fresh seeds", "–") == "–"


def test_every_number_of_a_figure_is_that_of_the_ledger(recorded, ledger):
    found = recorded[1]
    for family in set(ledger.family.values()):
        if f"figures/curves-{family}.csv" not in found:
            continue
        drawn = defaultdict(dict)
        for row in rows_of(found, f"curves-{family}"):
            trial = int(row["what"].split()[1])
            drawn[trial][int(row["epoch"])] = float(row["value"])
        for trial, points in drawn.items():
            finite = {e: v for e, v in ledger.curves[trial].items() if math.isfinite(v)}
            assert points == finite and ledger.family[trial] == family
    dots = rows_of(found, "families")
    trials = {int(r["trial"]): float(r["value"]) for r in dots if r["what"] == "trial"}
    assert trials == {t: ledger.best(t) for t in ledger.ranked}
    assert [r for r in dots if r["what"] == "fresh seed"], "the run has a re-run"
    for name, cost in (("size", ledger.size), ("cost", ledger.seconds)):
        column = "parameters" if name == "size" else "seconds"
        spots = rows_of(found, name)
        assert {int(s["trial"]) for s in spots} == {t for t in ledger.ranked if cost[t]}
        for spot in spots:
            trial = int(spot["trial"])
            assert float(spot["value"]) == ledger.best(trial)
            assert float(spot[column]) == pytest.approx(cost[trial])
            beaten = any(
                cost[t] <= cost[trial]
                and ledger.best(t) <= ledger.best(trial)
                and (cost[t], ledger.best(t)) != (cost[trial], ledger.best(trial))
                for t in ledger.ranked
            )
            assert spot["front"] == str(int(not beaten))


def test_best_value_so_far_is_that_of_the_ledger(recorded, ledger):
    best, count, steps = {}, 0, []
    seen = set()
    for e in ledger.events:
        if e["event"] != "epoch" or (e["trial"], e["epoch"]) in seen:
            continue
        seen.add((e["trial"], e["epoch"]))
        count += 1
        value, family = float(e["valid"].get("rmse", "nan")), ledger.family[e["trial"]]
        if math.isfinite(value) and value < best.get(family, math.inf):
            best[family] = value
            steps.append((family, count, value, e["trial"]))
    drawn = [
        (r["family"], int(r["epochs"]), float(r["value"]), int(r["trial"]))
        for r in rows_of(recorded[1], "progress")
    ]
    assert sorted(drawn) == sorted(steps)


def test_slices_and_timeline_are_those_of_the_ledger(recorded, ledger):
    params = {
        e["trial"]: e["params"] for e in ledger.events if e["event"] == "proposed"
    }
    for family in set(ledger.family.values()):
        for row in rows_of(recorded[1], f"slices-{family}"):
            trial, value = (
                int(row["trial"]),
                params[int(row["trial"])][row["hyperparameter"]],
            )
            told = row["choice"] or row["place"]
            assert told == str(value) or float(told) == float(value)
            assert float(row["value"]) == ledger.best(trial)
            assert row["ranked"] == str(int(trial in ledger.ranked))
    bars = rows_of(recorded[1], "timeline")
    started = [
        (e["trial"], e["elapsed"]) for e in ledger.events if e["event"] == "started"
    ]
    assert sorted((int(b["trial"]), float(b["start"])) for b in bars) == sorted(started)
    lanes = defaultdict(list)
    for bar in bars:
        lanes[bar["lane"]].append((float(bar["start"]), float(bar["end"])))
    for found in lanes.values():
        found.sort()
        assert all(a[1] <= b[0] for a, b in zip(found, found[1:], strict=False))


def test_the_first_screen_says_who_is_ahead_and_that_nothing_is_settled(
    recorded, ledger
):
    head = sentences.headline(content.load(recorded[0]))
    assert not head.settled and head.first[0].startswith("Nothing is settled: ")
    facts = dict(head.facts)
    first = ledger.ranked[0]
    second = next(t for t in ledger.ranked if ledger.family[t] != ledger.family[first])
    assert facts["Ahead"].startswith(f"{ledger.family[first]}, rmse ")
    assert f"trial {first}," in facts["Ahead"]
    a, b = ledger.best(first), ledger.best(second)
    assert f"({(b - a) / b * 100:.1f} %) before {ledger.family[second]}." in facts["By"]


@pytest.mark.slow
def test_built_twice_every_file_is_equal(recorded):
    place = recorded[0]
    found = folder.files([parts.of_run(content.load(place))])
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "5"}
    out = place.parent / "again"
    subprocess.run(
        [sys.executable, "-m", "hpo.cli.main", "report", place, "--out", out],
        env=environment,
        check=True,
        capture_output=True,
    )
    again = {
        str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()
    }
    assert again.keys() == found.keys()
    assert [name for name in found if again[name] != found[name]] == []
    linked = re.findall(r'href="(figures/[^"]+)"', found["index.html"].decode())
    assert set(linked) == {name for name in found if name.startswith("figures/")}


@pytest.mark.parametrize("name", ["report.md", "paper.tex"])
def test_words_look_as_they_should(name, recorded):
    sample_run.check_golden(f"recorded-{name}", recorded[1][name].decode())


def test_the_page_asks_nothing_of_anybody(recorded):
    page = parsed(recorded[1]["index.html"])
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    for tag, attributes in page.tags:
        assert tag not in ("link", "img", "iframe", "object", "image"), tag
        assert not any(k.startswith("on") or k in ("style", "src") for k in attributes)
        link = attributes.get("href", "#")
        assert link.startswith(("#", "figures/")), link
        if link.endswith(".csv"):
            assert link in recorded[1]
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids)), "an id is given twice"
    used = {a["href"][1:] for _, a in page.tags if a.get("href", "").startswith("#")}
    used |= {a["clip-path"][5:-1] for _, a in page.tags if "clip-path" in a}
    assert used <= set(ids)
    assert len(html._asset("page.js").encode()) <= 20_000


def test_an_interval_that_ends_at_zero_is_drawn_to_zero(recorded, monkeypatch):
    told = content.load(recorded[0])
    ends = Interval(mean=1.0, low=0.0, high=2.0, deviation=1.0, count=3)
    monkeypatch.setattr(draw_results, "mean_interval", lambda _: ends)
    looks = style.looks([f.name for f in told.summary.study.families])
    (drawing,) = draw_results.families(told, looks)
    with style.drawing():
        lines = [line.get_xdata() for line in drawing.draw().axes[0].lines]
    factor = draw_results.axis_of(told, [r["value"] for r in drawing.rows])[0].factor
    assert [0.0, 2.0 * factor] in [list(line) for line in lines]


def test_whole_numbers_have_whole_ticks(recorded):
    told = content.load(recorded[0])
    whole = Slice(
        family="rnn", name="model.size", log=False, choices=(), left_out=0,
        points=((1, 2.0, 0.1, True), (2, 3.0, 0.2, True)),
    )  # fmt: skip
    told = replace(told, slices=(whole,))
    looks = style.looks([f.name for f in told.summary.study.families])
    (drawing,) = draw_space.slices(told, looks)
    with style.drawing():
        figure = drawing.draw()
        figure.draw_without_rendering()
        ticks = figure.axes[0].get_xticks()
    assert [t % 1 for t in ticks] == [0] * len(ticks)


# -- several objectives -------------------------------------------------------------------


def limited_run(tmp_path):
    """The sample run with two more objectives; beyond a limit of 6,000 is all but `linear`."""

    def change(name, text):
        if name == "events.jsonl":
            return text
        record = json.loads(text)
        first = record["study"]["objectives"][0]
        record["study"]["objectives"] = [
            first,
            {**first, "metric": "fit", "direction": "maximize", "unit": ""},
            {**first, "metric": "parameters", "unit": "", "limit": 6000},
        ]
        return json.dumps(record)

    return rewritten(tmp_path, change)


def test_with_limits_the_page_does_not_say_that_the_first_is_ahead_by_a_difference(
    tmp_path,
):
    """`linear` (43.4 mV) keeps to the limit, `rnn` (0.97 mV) does not: no gap is `before`."""
    told = content.load(limited_run(tmp_path))
    facts = dict(sentences.headline(told).facts)
    assert facts["Ahead"].startswith("linear, rmse 43.4")
    assert "before" not in facts["By"]
    assert "Next is rnn, rmse 0.97" in facts["By"]
    assert "parameters 6689 is beyond 6000" in facts["By"]
    goals = "rmse small, fit large, parameters small (at most 6000)"
    for said in (facts["Compared"], methods.paragraph(told)):
        assert "smallest" not in said and f"front, then by rmse: {goals}, over" in said
    assert "what is beyond a limit comes last" in sentences.counted(told)


def test_every_objective_of_the_leaderboard_is_sorted_by_its_number(tmp_path):
    place = limited_run(tmp_path)
    page = words_of(place)["index.html"].decode()
    table = parsed(page.encode()).tables[0]
    heads = table[0]
    assert heads[:3] == ["rank", "front", "trial"]
    board = {
        r["trial"]: r for r in json.loads(formats.to_json(content.load(place).summary))
    }
    cell = re.compile(r"<td[^>]*?(?: data-v=\"([^\"]*)\")?>")
    lines = re.findall(r"<tr data-trial=\"(\d+)\".*", page)
    rows = re.findall(r"<tr data-trial=\"\d+\"[^>]*>\n?(.*)", page)
    for trial, row in zip(map(int, lines), rows, strict=True):
        values = cell.findall(row)
        assert len(values) == len(heads)
        known = board[trial]
        wanted = {"rank": known["rank"], "front": known["front"], **known["objectives"]}
        for head, value in wanted.items():
            column = next(i for i, h in enumerate(heads) if h.split(" [")[0] == head)
            assert values[column] == ("" if value is None else repr(value)) or float(
                values[column]
            ) == pytest.approx(value)


def test_a_long_reason_is_wrapped_and_pushes_nothing_out_of_sight(tmp_path):
    page = words_of(sample_run.write(tmp_path))["index.html"].decode()
    assert '<td class="told">failed' in page
    assert re.search(r"td\.told {[^}]*white-space: normal", page)


def test_what_paper_leaves_out_is_said_there(recorded, monkeypatch):
    assert "On paper" not in recorded[1]["index.html"].decode()
    monkeypatch.setattr(html, "_PRINTED", 10)
    page = words_of(recorded[0])["index.html"].decode()
    assert "On paper at most 10 rows stand here; all 16 trials are in" in page
    css = html._asset("page.css")
    monkeypatch.undo()
    assert f"nth-child(n+{html._PRINTED + 1} of :not([hidden]))" in css


# -- re-runs and values that changed ------------------------------------------------------


def test_what_reruns_tell_of_the_test_part_alone_is_on_the_page(recorded):
    told = content.load(recorded[0])
    assert "told of the test part alone" not in recorded[1]["index.html"].decode()
    plain = {"objective": 1.0, "best_epoch": 1, "epochs": 1, "seconds": 1.0}
    tests = [
        {"rmse": 2.0, "c2st": c, "rank_p": p} for c, p in ((0.5, 0.9), (0.6, 0.02))
    ]
    again = Repeat(
        folder=Path("reruns/20260101-seeds"), kind="seeds", look=0, trial=1, asked=2,
        runs=tuple(Seeded(seed=i, test=t, **plain) for i, t in enumerate(tests)),
        finished=True, equal=None, changed="", valid=None, test=None,
        of_epochs=frozenset({"rmse"}),
    )  # fmt: skip
    part = parts.of_run(replace(told, repeats=(again,)))
    figures = {
        d.name: b"<svg xmlns='http://www.w3.org/2000/svg'/>" for d in part.drawings
    }
    tables = parsed(html.render([part], figures).encode()).tables
    heads, *rows = next(t for t in tables if t[0][:2] == ["trial", "metric"])
    assert heads[2:] == ["test", "in reruns/"]
    mean, spread = statistics.fmean((0.5, 0.6)), statistics.stdev((0.5, 0.6))
    assert rows == [
        ["1", "c2st", f"{mean:.3f} ± {spread:.3f}", "20260101-seeds"],
        ["1", "rank_p", "median 0.460, smallest 0.020", "20260101-seeds"],
    ]


def test_values_that_changed_in_training_are_said_to_be_left_out(recorded):
    told = content.load(recorded[0])
    row = next(r for r in told.summary.rows if r.rank and r.family == "rnn")
    rest = tuple(r for r in told.summary.rows if r is not row)
    change = Change(after=2, traced={"optimizer.learning_rate": 0.1})
    summary = replace(told.summary, rows=(replace(row, schedule=(change,)), *rest))
    (found,) = (i for i in importances(summary) if i.family == "rnn")
    (before,) = (i for i in importances(told.summary) if i.family == "rnn")
    assert (found.changed, found.trials) == (1, before.trials - 1)
    left = "Left out: 1 more trial whose values changed in training."
    assert sentences.important(found).endswith(left)
    assert "Left out" not in sentences.important(before)
    looks = style.looks([f.name for f in summary.study.families])
    captions = {
        d.title: d.caption
        for d in draw_space.slices(replace(told, summary=summary), looks)
    }
    began = "stand where they began"
    assert [t for t, c in captions.items() if began in c] == ["Hyperparameters of rnn"]


# -- axes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("span", [(0.0028, 0.0089), (0.05, 0.07), (900, 4000), (3, 30)])
def test_ticks_of_a_small_logarithmic_panel_do_not_touch(span):
    with style.drawing():
        figure = style.figure(height=1.75)
        axes = figure.subplots(1, 2)[0]
        axes.plot(span, [1, 2])
        axes.set_xscale("log")
        draw_results.plain_ticks(axes.xaxis)
        figure.draw_without_rendering()
        shown = [t.get_window_extent() for t in axes.get_xticklabels() if t.get_text()]
        low, high = axes.get_xlim()
        inside = [
            box
            for box, at in zip(shown, axes.get_xticks(), strict=True)
            if low <= at <= high
        ]
    assert len(inside) >= 2
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(inside))


def test_thousands_are_no_powers_of_ten():
    told = {
        1000.0: "1000",
        2877.4: "2877",
        999.7: "1000",
        41000.0: "41000",
        12.345: "12.3",
    }
    assert {value: numbers.short(value) for value in told} == told
    with style.drawing():
        axes = style.axes(style.figure())
        axes.plot([300, 30000], [1, 2])
        axes.set_xscale("log")
        draw_results.plain_ticks(axes.xaxis)
        texts = [axes.xaxis.get_major_formatter()(v, 0) for v in (300.0, 1e3, 1e4)]
    assert texts == ["300", "1,000", "10,000"]


def test_a_long_metric_keeps_its_unit_and_stays_inside_its_figure(recorded):
    """The label of an axis along the height, of every figure that has one."""
    told = content.load(recorded[0])
    goal = replace(
        told.summary.objective, metric="a_metric_of_the_longest_name", unit="m/s²"
    )
    study = told.summary.study.replace(objectives=(goal,))
    told = replace(told, summary=replace(told.summary, study=study))
    scale, label = draw_results.axis_of(told, [1.0])
    assert label.endswith(f"… [{scale.unit}]")
    looks = style.looks([f.name for f in study.families])
    for made in (
        *draw_search.curves(told, looks),
        *draw_search.progress(told, looks),
        *draw_space.slices(told, looks),
    ):
        with style.drawing():
            figure = made.draw()
            figure.draw_without_rendering()
            labels = [axes.yaxis.label for axes in figure.axes]
            labels += [figure._supylabel] if figure._supylabel else []
            boxes = [t.get_window_extent() for t in labels if t.get_text()]
        assert boxes and all(b.y0 >= 0 and b.y1 <= figure.bbox.y1 for b in boxes)
        assert all(a.y0 > b.y1 for a, b in itertools.pairwise(boxes))


# -- other runs ---------------------------------------------------------------------------


def test_a_run_with_every_ending_is_reported_as_unfinished(tmp_path):
    place = sample_run.write(tmp_path)
    found = words_of(place)
    page = "".join(parsed(found["index.html"]).text)
    assert "Nothing is settled: the search is unfinished, 8 of 11 trials ended." in page
    assert "hpo resume sample/20260101-120000-0123abcd" in page
    assert "(asha)" in page and "longer than every file" in page
    _, course = read(place)
    assert {s.outcome for s in course.stretches} >= {"running", "failed", "interrupted"}


def rewritten(tmp_path, change):
    """The sample run with every line of its ledger, and its study, changed as text."""
    place = sample_run.write(tmp_path)
    for name in ("events.jsonl", "study.json"):
        path = place / name
        path.write_text(change(name, path.read_text()))
    return place


HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'"
    "{{7*7}} $x^2$ \\input{x}"
)


def hostile_run(tmp_path):
    """A run with hostile names, unit, data, description and notes."""
    told = json.dumps(HOSTILE)[1:-1]

    def change(name, text):
        if name == "study.json":
            text = text.replace('"A study for the tests."', f'"{told}"')
            text = text.replace('"unit": "V"', f'"unit": "{told}"')
            text = text.replace("wiener_hammerstein", told)
        return text.replace("model.cell", told).replace("SIGKILL", told)

    place = rewritten(tmp_path, change)
    lines = (place / "events.jsonl").read_text()
    count = lines.count("\n")
    note = {"schema": 1, "n": count + 1, "time": 1.0, "elapsed": 50.0, "event": "note"}
    note |= {"trial": None, "attempt": None, "text": HOSTILE}
    (place / "events.jsonl").write_text(lines + json.dumps(note) + "\n")
    return place


def test_hostile_names_stay_text_wherever_they_come(tmp_path):
    found = words_of(hostile_run(tmp_path))
    page = parsed(found["index.html"])
    assert [t for t, _ in page.tags].count("script") == 1
    assert not [a for _, a in page.tags if any(k.startswith("on") for k in a)]
    assert not [t for t, _ in page.tags if t == "img"]
    words = "".join(page.text)
    assert words.count(HOSTILE) >= 4  # description, unit, data and note
    assert "49" not in re.findall(r"\{\{.*?\}\}|\b49\b", words)
    assert "<img" not in re.sub(r"\\<img|&lt;img", "", found["report.md"].decode())
    paper = found["paper.tex"].decode()
    assert "\\input{x}" not in paper and r"\textbackslash{}input\{x\}" in paper


def test_nan_everywhere_is_told_and_draws_nothing(tmp_path):
    def change(name, text):
        return re.sub(r'"rmse": [0-9.e-]+', '"rmse": "nan"', text)

    found = words_of(rewritten(tmp_path, change))
    page = "".join(parsed(found["index.html"]).text)
    assert "nobody: no trial has completed or converged with a finite value." in page
    assert not [name for name in found if name.startswith("figures/curves")]


def test_one_trial_is_a_report(tmp_path):
    def change(name, text):
        if name != "events.jsonl":
            return text
        lines = text.splitlines(keepends=True)
        mine = [line for line in lines if json.loads(line)["trial"] in (None, 1)]
        end = {
            "schema": 1,
            "n": len(mine) + 1,
            "time": 1.0,
            "elapsed": 9.0,
            "event": "run",
        }
        end |= {"trial": None, "attempt": None, "action": "finish", "reason": "budget"}
        return "".join([*mine, json.dumps(end) + "\n"])

    head = sentences.headline(content.load(rewritten(tmp_path, change)))
    assert dict(head.facts)["By"] == "no other family has a ranked trial."
    assert "one lucky training" in head.first[0]


def test_a_run_without_trials_is_a_report(tmp_path):
    def change(name, text):
        return text.splitlines(keepends=True)[0] if name == "events.jsonl" else text

    found = words_of(rewritten(tmp_path, change))
    assert "no trials yet" in found["index.html"].decode()


@pytest.mark.slow
def test_a_full_disk_leaves_the_report_of_before(tmp_path):
    """A limit of the file size stands for the disk: the kernel refuses to write on."""
    place = sample_run.write(tmp_path / "results")
    folder.write([RunFolder(place)], results=place.parent.parent)
    (place / "report" / "mine.txt").write_text("kept")
    before = {p: p.read_bytes() for p in (place / "report").rglob("*") if p.is_file()}
    code = (
        "import resource, sys\n"
        "from hpo.cli.main import app\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        f"app(['report', {str(place)!r}])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLCONFIGDIR": str(tmp_path)},
    )
    assert done.returncode == 1 and done.stdout == ""
    assert (
        "error: cannot write" in done.stderr and "hint: free some space" in done.stderr
    )
    after = {p: p.read_bytes() for p in (place / "report").rglob("*") if p.is_file()}
    assert after == before
    assert [p.name for p in place.iterdir() if p.name.startswith(".report")] == []


def test_what_else_lies_in_the_folder_stays_and_old_figures_go(tmp_path, monkeypatch):
    place = sample_run.write(tmp_path)
    made = {"index.html": b"page", "figures/new.svg": b"figure"}
    monkeypatch.setattr(folder, "files", lambda _: made)
    kept = place / "report" / "tensorboard" / "events"
    kept.parent.mkdir(parents=True)
    kept.write_text("logs")
    old = place / "report" / "figures" / "old.svg"
    old.parent.mkdir()
    old.write_text("gone")
    page = folder.write([RunFolder(place)], results=tmp_path)
    assert page == RunFolder(place).report / "index.html" and page.is_file()
    assert kept.read_text() == "logs" and not old.exists()
    assert (place / "report" / "figures" / "new.svg").read_bytes() == b"figure"
    assert [p.name for p in place.iterdir() if p.name.startswith(".report")] == []


def test_mistakes_name_rule_value_and_remedy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = sample_run.write(tmp_path / "results")
    there = tmp_path / "there"
    there.mkdir()
    refused(run("report", "sample", "--out", there), "is there already", "--out")
    refused(run("report", "nobody"), "no run `nobody`", "hint:")
    (place / "events.jsonl").write_text("{}\n")
    refused(run("report", "sample"), "line 1", "hint:")
    with pytest.raises(RunError, match="missing"):
        content.load(tmp_path)


def test_families_and_latex_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sample_run.write(tmp_path / "results")
    told = json.loads(run("results", "sample", "--families", "--format", "json").stdout)
    assert [(f["family"], f["trial"], f["objective"]) for f in told] == [
        ("rnn", 1, 0.00097),
        ("linear", 2, 0.0434),
    ]
    latex = run("results", "sample", "--families", "--format", "latex").stdout
    assert r"rnn & 0.970 & 1 & 10 & 3 &" in latex and r"\toprule" in latex
    assert "textbf" not in latex, "nothing is settled, nothing is bold"
    assert r"\midrule" in run("results", "sample", "--format", "latex").stdout
    whole = run("report", "sample", "--format", "latex").stdout
    assert "We tuned rnn (10 trials of up to 8 epochs" in whole and "% @" in whole
    assert "cannot" not in run("results", "sample", "--families").stderr
    result = run("results", "sample", "--families", "--top", 2)
    refused(result, "--top", status=2)
