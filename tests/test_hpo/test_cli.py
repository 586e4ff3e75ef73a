"""The command line as a person meets it: help, tables, formats, and every mistake."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from hpo.cli import shell
from hpo.ledger.folder import RunFolder
from tests.test_hpo import sample_run
from tests.test_hpo.command_line import refused, run

ROOT = Path(__file__).parent.parent.parent
COMMANDS = (
    *(
        "launch",
        "resume",
        "extend",
        "results",
        "report",
        "show",
        "best",
        "rerun",
        "predict",
        "note",
    ),
    *("diff", "clean", "stop", "export", "watch", "check", "simulate", "list"),
    *("doctor", "confirm", "promote", "discover-categories"),
    *("export-latents", "train", "plot"),
)


@pytest.fixture
def sample(tmp_path):
    return sample_run.write(tmp_path / "results")


@pytest.fixture
def walk(tmp_path):
    path = tmp_path / "walk.py"
    path.write_text(sample_run.WALK)
    return path


@pytest.mark.parametrize("command", [(), *((c,) for c in COMMANDS)])
def test_help_looks_as_it_should(command):
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    sample_run.check_golden(f"help-{'-'.join(command) or 'hpo'}.txt", result.stdout)


def test_no_command_prints_the_help_and_version_the_version():
    assert run().stdout == run("--help").stdout
    assert run("--version").stdout.startswith("hpo 0.")


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["results", "--results", "{}"], ["list", "runs", "--results", "{}"],
     ["list", "studies"], ["list", "families"]],
)  # fmt: skip
def test_reading_loads_neither_jax_nor_ray(arguments, tmp_path):
    sample_run.write(tmp_path)
    given = [a.format(tmp_path) for a in arguments]
    check = (
        "import sys\nfrom hpo.cli.main import main\n"
        f"sys.argv = ['hpo', *{given!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "bad = {'jax', 'ray', 'flax', 'torch'} & set(sys.modules)\n"
        "sys.exit(f'loaded {bad}' if bad else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_completion_knows_studies_and_runs_and_loads_nothing_heavy(sample):
    check = (
        "import sys\nfrom hpo.cli import options\n"
        "from types import SimpleNamespace\nfrom pathlib import Path\n"
        f"context = SimpleNamespace(params={{'results': Path({str(sample.parents[1])!r})}})\n"
        "print(options.complete_run(context, 's'), options.complete_study(''))\n"
        "assert not {'jax', 'ray'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "['sample']" in done.stdout


def test_results_prints_the_golden_table_and_says_how_to_go_on(sample):
    result = run("results", "sample", "--results", sample.parents[1])
    assert result.exit_code == 0
    place = str(sample)
    golden = (ROOT / "tests/golden/table-80.txt").read_text()
    table = golden.partition("\n\n")[2]  # below the head, which names the folder
    assert result.stdout.partition("\n\n")[2] == table
    assert "\x1b" not in result.stdout
    assert f"hpo resume {place}" in result.stderr


def test_results_formats(sample):
    where = ("--results", sample.parents[1])
    rows = json.loads(run("results", *where, "--format", "json").stdout)
    assert [r["trial"] for r in rows][:4] == [1, 6, 7, 2]
    top = json.loads(run("results", *where, "--format", "json", "--top", 1).stdout)
    assert top == rows[:1]
    only = run("results", *where, "--family", "linear", "--format", "csv").stdout
    assert [r["trial"] for r in csv.DictReader(io.StringIO(only))] == ["2"]
    sort = run("results", *where, "--sort", "window", "--format", "markdown")
    assert sort.stdout.startswith("| rank | trial |")


def test_a_very_long_table_says_what_it_leaves_out(sample, monkeypatch):
    where = ("sample", "--results", sample.parents[1])
    whole = json.loads(run("results", *where, "--format", "json").stdout)
    monkeypatch.setattr(sys.modules["hpo.cli.results"], "_MOST", 4)
    short, all_of_it = run("results", *where), run("results", *where, "--top", 99)
    hint = f"{len(whole) - 4} more rows; `--top {len(whole)}` shows all"
    assert hint in short.stderr and hint not in all_of_it.stderr
    assert len(short.stdout.splitlines()) < len(all_of_it.stdout.splitlines())
    assert json.loads(run("results", *where, "--format", "json").stdout) == whole


def test_results_finds_a_run_by_folder_name_study_and_latest(sample):
    where = ("--results", sample.parents[1])
    texts = {
        run("results", name, *where, "--format", "json").stdout
        for name in (sample, "sample", "latest", sample.name)
    }
    assert len(texts) == 1


def test_show_prints_a_failed_trials_error(sample):
    folder = RunFolder(sample)
    folder.error_file(5).parent.mkdir(parents=True)
    folder.error_file(5).write_text("Traceback\nValueError: the window is too long\n")
    result = run("show", "sample", 5, "--results", sample.parents[1])
    assert result.exit_code == 0
    assert "error\n  Traceback\n  ValueError: the window is too long" in result.stdout


@pytest.mark.parametrize(
    "what",
    ["studies", "families", "spaces", "datasets", "samplers", "rules", "runs"],
)
@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_lists(what, form, sample):
    result = run("list", what, "--format", form, "--results", sample.parents[1])
    assert result.exit_code == 0, result.output
    if form == "json":
        assert isinstance(json.loads(result.stdout), list)
    if what == "runs":
        assert "sample" in result.stdout


@pytest.mark.parametrize("columns", [80, 120, 200])
@pytest.mark.parametrize("what", ["samplers", "rules"])
def test_samplers_and_rules_are_listed_with_their_options(what, columns):
    result = run("list", what, columns=columns)
    assert max(map(len, result.stdout.splitlines())) <= columns
    sample_run.check_golden(f"list-{what}-{columns}.txt", result.stdout)


@pytest.mark.parametrize("what", ["samplers", "rules"])
def test_what_is_listed_is_what_can_be_asked_for(what):
    """Every name can be made with the options and defaults that the list tells."""
    import tomllib

    from hpo.search import registry as samplers
    from hpo.stopping import registry as rules
    from hpo.study import Rule

    registry = {"samplers": samplers, "rules": rules}[what]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    rows = json.loads(run("list", what, "--format", "json").stdout)
    assert [row["name"] for row in rows] == list(registry.names())
    for row in rows:
        assert row["description"]
        if row["needs"]:
            extra = row["needs"].removeprefix("extra ")
            assert extra in extras["optional-dependencies"]
            continue
        made = registry.make(Rule(name=row["name"], options=row["options"]))
        assert {k: getattr(made, k) for k in row["options"]} == row["options"]


def test_wrong_words_get_near_matches(sample, walk):
    where = ("--results", sample.parents[1])
    refused(run("results", "sampel", *where), "no run `sampel`", "`sample`")
    refused(run("results", *where, "--family", "rn"), "no family `rn`", "`rnn`")
    refused(run("results", *where, "--sort", "secnds"), "`secnds`", "`seconds`")
    refused(run("show", "sample", 99, *where), "no trial 99")
    refused(run("launch", "no_such_study_at_all"), "unknown study")
    refused(run("launch", "quickstrat"), "unknown study", "`quickstart`")
    refused(run("launch", "nowhere/x.py"), "no study file")
    refused(run("launch", walk, "--families", "wlak"), "`wlak`", "`walk`")
    refused(run("launch", walk, "--set", "optimizer.rat=1"), "`optimizer.rate`")
    refused(run("launch", walk, "--set", "budget.trils=1"), "`budget.trials`")
    refused(run("launch", walk, "--executor", "rey", *where), "`ray`")
    refused(run("launch", walk, "--set", "sampler.name=tp", *where), "`tpe`")
    refused(run("launch", walk, "--set", "stopping.asha.eat=2", *where), "`eta`")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--trials", "0"), "positive"),
        (("--epochs", "-3"), "positive"),
        (("--workers", "0"), "positive"),
        (("--gpus-per-trial", "-1"), "negative"),
        (("--seed", "-1"), "seed"),
        (("--set", "novalue"), "KEY=VALUE"),
        (("--set", "budget.trials=many"), "whole number"),
        (("--set", "stopping=asha"), "JSON list"),
        (("--set", "seed=x"), "seed"),
        (("--time-budget", "soon"), "duration"),
        (("--stall", "0s"), "longer than nothing"),
        (("--families", ","), "names no family"),
    ],
)
def test_values_are_checked_before_anything_starts(options, words, walk, tmp_path):
    result = run("launch", walk, *options, "--results", tmp_path / "out")
    refused(result, words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("lunch",), "launch"),
        (("results", "--top", "few"), "--top"),
        (("results", "--frmat", "json"), "--format"),
        (("results", "--format", "yaml"), "yaml"),
        (("show", "latest"), "TRIAL"),
        (("list", "thoughts"), "thoughts"),
    ],
)
def test_usage_mistakes_exit_with_2_and_point_at_the_help(arguments, words):
    refused(run(*arguments), words, "--help", status=2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = (", "line 1: SyntaxError"),
        ("a = 1\nb = a / 0\n", "line 2: ZeroDivisionError"),
        ("import no_such_package\n", "line 1: ModuleNotFoundError"),
        ("import sys\nsys.exit(3)\n", "line 2: SystemExit"),
        ("STUDY = 3\n", "STUDY = Study(...)"),
        ("x = 1\n", "it defines nothing"),
        (
            "from hpo.study import Study\n\nSTUDY = Study(name='a b', families=())\n",
            "line 3: a study's name",
        ),
    ],
)
def test_a_broken_study_file_is_named_with_its_line(text, words, tmp_path):
    path = tmp_path / "broken.py"
    path.write_text(text)
    refused(run("launch", path), "broken.py", words)


def test_debug_shows_the_traceback_wherever_it_stands(walk):
    for arguments in (["--debug", "launch", "nope"], ["launch", "nope", "--debug"]):
        result = run(*arguments)
        assert result.exit_code == 1
        assert "Traceback" in result.stderr and "error: unknown study" in result.stderr
    assert "Traceback" not in run("launch", "nope").stderr


def test_a_bug_of_ours_is_told_in_one_line_too(monkeypatch, sample):
    def broken(folder):
        raise RuntimeError("boom")

    monkeypatch.setattr("hpo.report.summary.load_summary", broken)
    result = run("results", "--results", sample.parents[1])
    assert result.exit_code == 1
    assert "internal error (RuntimeError): boom" in result.stderr
    assert "Traceback" not in result.stderr and "--debug" in result.stderr


def test_damaged_runs_are_named(sample):
    where = ("--results", sample.parents[1])
    path = sample / "events.jsonl"
    path.write_text(path.read_text().replace('"trial": 1,', '"trial": "one",', 1))
    refused(run("results", *where), "events.jsonl, line 2")
    listed = run("list", "runs", *where)
    assert listed.exit_code == 0 and "unreadable" in listed.stdout
    (sample / "study.json").unlink()
    refused(run("results", *where), "study.json is missing")
    refused(run("results", "--results", sample / "nothing"), "no run under", "launch")


def test_launch_results_rerun_from_end_to_end(walk, tmp_path):
    where = ("--results", tmp_path / "out")
    result = run("launch", walk, "--trials", 3, "--seed", 5, *where)
    assert result.exit_code == 0, result.stderr
    assert "3 of 3 trials ended" in result.stdout
    assert "[3/3] trial 3 walk: " in result.stderr  # plain lines, not a bar
    folder = RunFolder.find(tmp_path / "out", "walks").path
    assert json.loads((folder / "report/leaderboard.json").read_text()) == json.loads(
        run("results", "walks", "--format", "json", *where).stdout
    )
    assert run("resume", "walks", *where).exit_code == 0
    assert run("rerun", "walks", "--exact", *where).exit_code == 0


def test_set_fixes_configuration_keys(walk, tmp_path):
    where = ("--results", tmp_path / "out")
    settings = ("--set", "optimizer.rate=0.25", "--set", "sampler.name=random")
    run("launch", walk, "--trials", 2, *settings, *where)
    rows = json.loads(run("results", "walks", "--format", "json", *where).stdout)
    assert [set(r["params"]) for r in rows] == [{"model.size"}] * 2
    config = json.loads(
        (RunFolder.find(tmp_path / "out", "walks").config_file(1)).read_text()
    )
    assert config["config"]["optimizer.rate"] == 0.25


def test_a_second_driver_is_refused(sample):
    with RunFolder(sample).acquire():
        where = ("--results", sample.parents[1])
        refused(run("rerun", "sample", *where), "another driver")
        assert "at work" in run("results", *where).stderr


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, where nobody writes")
def test_a_results_folder_that_takes_no_files_is_refused(walk):
    refused(
        run("launch", walk, "--results", "/proc/results"), "cannot write", "--results"
    )


def test_a_results_folder_that_is_a_file_is_refused(walk, tmp_path):
    (tmp_path / "file").write_text("")
    refused(run("launch", walk, "--results", tmp_path / "file"), "file")


def test_the_process_exits_as_the_command_says(walk, tmp_path):
    def go(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "hpo.cli.main", *map(str, arguments)],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )

    missing = go("results", "nope", "--results", tmp_path)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr.startswith("error: no run")
    assert go("--frobnicate").returncode == 2
    assert go("--version").returncode == 0


def test_tables_survive_a_reader_that_leaves(sample):
    command = f"{sys.executable} -m hpo.cli.main results {sample} | head -1"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "sample\n"
    assert "Broken" not in done.stderr and "Traceback" not in done.stderr


def test_columns_are_wrapped_at_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    text = shell.columns([{"a": "x" * 15, "b": "word " * 10}], ["a", "b"])
    assert max(map(len, text.splitlines())) <= 40
    assert text.count("word") == 10


def test_long_text_goes_below_its_row_where_little_room_is_left(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    row = {"a": "x" * 20, "b": " ".join(["word"] * 10), "n": 7}
    assert shell.columns([row], ["a", "b"]).splitlines() == [
        *("a", "    b"),  # 18 characters beside it would be no room
        row["a"],
        "    word word word word word word word",
        "    word word word",
    ]
    short = shell.columns([{"a": "x" * 30, "b": "yes"}], ["a", "b"]).splitlines()
    assert short[1].endswith("x  yes")  # a short text needs no more
    number = shell.columns([row], ["b", "n"], right={"n"}).splitlines()
    assert number[1].endswith("word  7"), "a number is never folded"


def test_families_are_read_in_a_narrow_terminal():
    lines = run("list", "families", columns=66).stdout.splitlines()
    assert max(map(len, lines)) <= 66
    (place,) = (i for i, line in enumerate(lines) if line.split()[0] == "rnn")
    assert lines[place].split()[-1] == "no"
    below = [line.startswith("    ") for line in lines[place + 1 :]]
    text = " ".join(lines[place + 1 : place + 1 + [*below, False].index(False)])
    assert " ".join(text.split()).startswith("Recurrent networks for sequences:")
