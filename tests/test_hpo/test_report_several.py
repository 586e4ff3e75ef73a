"""The page of a group, and one page of several runs: what is beside each other, and what never."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import statistics
from pathlib import Path

import pytest

from hpo.ledger.folder import RunFolder
from hpo.ledger.group import RunGroup
from hpo.report.page import folder, group, group_page, html, parts, text
from tests.test_hpo import sample_run
from tests.test_hpo.command_line import refused, run
from tests.test_hpo.test_report_page import parsed


def member(place, index, name):
    """Make a copy of a run the search of a group."""
    record = json.loads((place / "study.json").read_text())
    record["study"]["seed"] = 7 + index
    record["group"] = {"name": name, "index": index}
    (place / "study.json").write_text(json.dumps(record))


@pytest.fixture
def results(tmp_path):
    """Two searches of a group of three, the second one a little worse."""
    first = sample_run.write(tmp_path / "results")
    second = first.with_name("20260101-130000-0123abcd")
    shutil.copytree(first, second)
    lines = (second / "events.jsonl").read_text()
    worse = re.sub(
        r'"rmse": ?([\d.e-]+)', lambda m: f'"rmse": {2 * float(m[1])!r}', lines
    )
    (second / "events.jsonl").write_text(worse)
    study = json.loads((first / "study.json").read_text())["study"]
    path = first.parent / "groups" / "three"
    path.mkdir(parents=True)
    record = {"schema": 1, "study": study, "seeds": [7, 8, 9], "about": {}}
    (path / "group.json").write_text(json.dumps(record))
    member(first, 0, "three")
    member(second, 1, "three")
    return tmp_path / "results"


def best(place, family):
    """The smallest rmse of the ranked trials of a family, by the lines of a ledger."""
    lines = [json.loads(x) for x in (place / "events.jsonl").read_text().splitlines()]
    of = {e["trial"]: e["family"] for e in lines if e["event"] == "proposed"}
    ended = {e["trial"] for e in lines if e["event"] in ("completed", "converged")}
    values = [
        float(e["valid"]["rmse"])
        for e in lines
        if e["event"] == "epoch" and of[e["trial"]] == family and e["trial"] in ended
    ]
    return min(v for v in values if v == v)


def test_a_group_has_a_page_with_the_numbers_of_its_searches(results):
    found = group.load(RunGroup(results / "sample" / "groups" / "three"))
    runs = sorted((results / "sample").glob("2026*"))
    assert [s.place for s in found.searches] == [1, 2] and found.planned == 3
    for family in ("rnn", "linear"):
        assert found.values(family) == [best(r, family) for r in runs]
    part = parts.of_group(found)
    assert part.headline.first == (
        "Nothing is settled: 0 of 3 searches of the group have ended.",
    )
    assert part.headline.commands[0][0] == "hpo resume three"
    (drawing,) = [d for d in part.drawings if d.name == "searches"]
    assert {
        (r["search"], r["seed"], r["family"]): r["value"] for r in drawing.rows
    } == {
        (i, 6 + i, f): best(r, f)
        for i, r in enumerate(runs, 1)
        for f in ("rnn", "linear")
    }
    page = html.render([part], {d.name: d.files(["svg"])["svg"] for d in part.drawings})
    tables = parsed(page.encode()).tables
    families = [dict(zip(tables[0][0], row, strict=True)) for row in tables[0][1:]]
    mean = statistics.fmean(best(r, "rnn") for r in runs)
    told = families[0]["search, rmse [mV]"]
    assert families[0]["family"] == "rnn" and told.endswith("(2)")
    assert float(told.split()[0]) == pytest.approx(1e3 * mean, rel=1e-3)
    searches = [dict(zip(tables[1][0], row, strict=True)) for row in tables[1][1:]]
    assert [s["seed"] for s in searches] == ["7", "8"]
    assert searches[1]["command"] == "hpo report sample/20260101-130000-0123abcd"
    assert "We searched 2 times" in group_page.paragraph(found)
    assert "# sample · group three" in text.render([part])


def test_the_command_writes_one_page_for_a_group(results, monkeypatch):
    monkeypatch.chdir(results.parent)
    monkeypatch.setattr(
        folder, "files", lambda made: {"index.html": made[0].title.encode()}
    )
    done = run("report", "three")
    assert done.exit_code == 0, done.stderr
    page = results / "sample" / "groups" / "three" / "report" / "index.html"
    assert (results.parent / done.stdout.strip()).resolve() == page.resolve()
    assert page.read_text() == "sample · group three"
    empty = results / "sample" / "groups" / "none"
    shutil.copytree(page.parent.parent, empty)
    refused(run("report", "none"), "has begun", "hpo resume")
    latex = run("report", "three", "--format", "latex").stdout
    assert latex.startswith("We searched 2 times") and "% @" in latex


def other_task(results):
    """A third run, of another task, whose error is far smaller."""
    place = results / "else" / "20260101-140000-0123abcd"
    shutil.copytree(results / "sample" / "20260101-120000-0123abcd", place)
    record = json.loads((place / "study.json").read_text())
    record["study"] |= {"name": "else", "task": {"name": "prediction", "known": 3}}
    record.pop("group")
    (place / "study.json").write_text(json.dumps(record))
    return place


def test_several_runs_are_on_one_page_and_tasks_never_in_one_table(results):
    runs = [*sorted((results / "sample").glob("2026*")), other_task(results)]
    found = folder.load([RunFolder(r) for r in runs])
    overview = parts.overview(found)
    assert [len(s.table.rows) for s in overview] == [2, 1]
    assert "prediction on " in overview[1].title
    order = [row[1] for s in overview for row in s.table.rows]
    assert order == [f"{r.parent.name}/{r.name}" for r in runs], "as named, not ranked"
    figures = {f"{p.prefix}{d.name}": SVG for p in found for d in p.drawings}
    page = parsed(html.render(found, figures).encode())
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids)), "an id is given twice"
    assert [i for i in ids if i.endswith("leaderboard")] == [
        f"{i}-leaderboard" for i in (1, 2, 3)
    ]
    links = {a["href"] for _, a in page.tags if a.get("href", "#")[0] != "#"}
    assert {link.split("/figures/")[0] for link in links} == {
        f"runs/{i}" for i in (1, 2, 3)
    }
    words = text.render(found)
    assert words.startswith("# 3 runs\n") and "](runs/2/figures/" in words
    assert words.count("Nothing is settled: the search is unfinished") >= 3


SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><path d="M 0 0"/></svg>'
)


def test_where_a_page_of_several_goes(results, monkeypatch):
    monkeypatch.chdir(results.parent)
    monkeypatch.setattr(folder, "files", lambda made: {"index.html": b"%d" % len(made)})
    names = "20260101-120000-0123abcd", "three"
    first = run("report", *names).stdout.strip()
    assert Path(first).parent.parent == Path("results/reports")
    assert Path(first).read_bytes() == b"2"
    assert run("report", *names).stdout.strip() == first, "replaced, not added"
    assert run("report", *reversed(names)).stdout.strip() != first
    out = results.parent / "out"
    assert run("report", *names, "--out", out).stdout.strip() == str(out / "index.html")
    refused(run("report", *names, "--out", out), "is there already")
    listed = run("list", "runs", "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(listed)))
    assert len(rows) == 2, "a page is no run"
