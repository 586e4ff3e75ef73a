"""Bad input to every command: a message on stderr, a status, and no traceback.

The tables are held against typer's own tree of commands, so that a new command without a
row here fails.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import typing
from enum import Enum
from pathlib import Path

import h5py
import pytest
import typer.main

from hpo.cli.main import app
from tests.test_hpo import sample_run
from tests.test_hpo.command_line import refused, run

ROOT = Path(__file__).parents[2]
TREE = typer.main.get_command(app).commands
# A call of each command that would work in the folder of `place`.
CALLS = {
    "launch": ("walk.py",),
    "train": ("rnn", "--config", "training.yaml"),
    "resume": ("sample",),
    "extend": ("sample", "--trials", "+1"),
    "results": ("sample",),
    "show": ("sample", "1"),
    "best": ("sample",),
    "rerun": ("sample",),
    "confirm": ("sample",),
    "promote": ("sample", "--name", "promoted"),
    "report": ("sample",),
    "predict": ("sample", "new.hdf5", "--out", "out.hdf5"),
    "plot": ("sample",),
    "note": ("sample", "a remark"),
    "diff": ("sample", "1", "2"),
    "clean": ("sample", "--dry-run"),
    "stop": ("sample",),
    "export": ("sample", "--to", "csv"),
    "export-latents": ("sample", "--out", "codes.h5"),
    "discover-categories": ("new.hdf5", "--out", "groups.json"),
    "verify": ("sample",),
    "watch": ("sample",),
    "check": ("walk.py",),
    "simulate": ("sample",),
    "list": ("runs",),
    "doctor": ("--no-trial",),
}
# What a person may get wrong in each: arguments, exit status, words of the message.
MISTAKES = {
    "launch": [
        (("nowhere/x.py",), 1, "no study file"),
        (("walk.py", "--trials", "0"), 1, "positive"),
        (("walk.py", "--order", "virtual:0"), 1, "1 to 999,999 seats"),
        (("walk.py", "--order", "virtual:999999999999"), 1, "1 to 999,999 seats"),
        (("walk.py", "--chaos", "fire=1"), 1, "got 'fire=1'"),
        (("walk.py", "--time-budget", "soon"), 1, "duration"),
        (("walk.py", "--data", "nowhere", "--set", "data=none_such"), 1, "none_such"),
        (("walk.py", "--results", "walk.py"), 1, "walk.py"),
        (("walk.py", "--repeat", "1"), 1, "from 2"),
    ],
    "train": [
        (("rn", "--config", "training.yaml"), 1, "`rnn`"),
        (("rnn", "--config", "nowhere.yaml"), 1, "no file nowhere.yaml"),
        (("rnn", "--config", "new.hdf5"), 1, "is no YAML"),
        (("rnn",), 2, "--config"),
    ],
    "resume": [(("nope",), 1, "no run `nope`"), ((), 2, "RUN")],
    "extend": [
        (("nope", "--trials", "+1"), 1, "no run `nope`"),
        (("sample",), 1, "nothing to extend"),
        (("sample", "--trials", "20"), 1, "--trials +20"),
        (("sample", "--trials", "+x"), 1, "+x"),
        (("sample", "--epochs-total", "1"), 1, "no more than that"),
        (("sample", "--time-budget", "soon"), 1, "duration"),
        (("sample", "--families", "rn"), 1, "`rnn`"),
        (("sample", "--families", "rnn"), 1, "`--trials +20` gives"),
    ],
    "results": [
        (("sample", "--family", "rn"), 1, "`rnn`"),
        (("sample", "--sort", "x"), 1, "`x`"),
    ],
    "show": [(("sample", "99"), 1, "no trial 99"), (("sample", "one"), 2, "one")],
    "best": [
        (("sample", "--family", "rn"), 1, "`rnn`"),
        (("sample", "--as", "xml"), 2, "xml"),
    ],
    "rerun": [
        (("sample", "--rank", "0"), 2, "--rank"),
        (("sample", "--rank", "1", "--trial", "1"), 1, "not several"),
        (("sample", "--exact", "--seeds", "2"), 1, "not both"),
        (("sampel",), 1, "`sample`"),
    ],
    "confirm": [
        (("sample", "--matters", "0"), 1, "positive"),
        (("sample", "--matters", "much"), 1, "'much'"),
        (("sample", "--seeds", "1"), 1, "one seed has no spread"),
        (("sample", "--top", "0"), 1, "--top"),
        (("sample", "--extend", "5"), 1, "hint"),
        (("sampel",), 1, "`sample`"),
    ],
    "promote": [
        (("sample",), 2, "--name"),
        (("sample", "--name", "x", "--rank", "99"), 1, "no trial of rank 99"),
        (("sample", "--name", "x", "--rank", "1", "--trial", "1"), 1, "not both"),
    ],
    "report": [
        (("sampel",), 1, "`sample`"),
        (("sample", "--format", "word"), 2, "word"),
        (("sample", "--out", "walk.py"), 1, "walk.py"),
    ],
    "predict": [
        (("sample", "nowhere.hdf5", "--out", "out.hdf5"), 1, "no file nowhere.hdf5"),
        (("sample", "new.hdf5", "--out", "walk.py"), 1, "walk.py is there already"),
        (("sample", "new.hdf5", "--out", "o", "--trial", "99"), 1, "no trial 99"),
        (("sample", "new.hdf5", "--out", "o", "--trial", "0"), 2, "--trial"),
        (("sample", "new.hdf5", "--out", "o"), 1, "no checkpoint"),
        (("sample", "new.hdf5"), 2, "--out"),
    ],
    "plot": [
        (("sample",), 1, "no checkpoint"),
        (("sample", "--trial", "99"), 1, "no trial 99"),
        (("nope",), 1, "`nope`"),
    ],
    "note": [
        (("sample", "99", "text"), 1, "99"),
        (("sample", "a", "b", "c"), 2, "quotes"),
        (("sample", ""), 1, "text"),
        (("sample", "1"), 2, "the text is missing"),
    ],
    "diff": [
        (("sample", "1", "1"), 1, "from itself"),
        (("sample", "1", "99"), 1, "no trial 99"),
    ],
    "clean": [(("sample", "--keep", "-1"), 2, "--keep"), (("nope",), 1, "`nope`")],
    "stop": [
        (("sample",), 1, "nobody is at work"),
        (("sample", "--timeout", "soon"), 1, "duration"),
    ],
    "export": [
        (("sample", "--to", "excel"), 2, "excel"),
        (("sample", "--to", "csv", "--out", "walk.py"), 1, "is there already"),
        (("sample", "--to", "csv", "--out", "walk.py/x"), 1, "walk.py"),
        (("sample", "--to", "csv", "--trial", "1"), 1, "writes all trials"),
        (("sample", "--to", "stablehlo", "--out", "walk.py"), 1, "is there already"),
        (("sample", "--to", "stablehlo", "--out", "o"), 1, "no checkpoint"),
    ],
    "export-latents": [
        (("sample", "--out", "walk.py"), 1, "walk.py is there already"),
        (("sample", "--out", "o.h5", "--trial", "99"), 1, "no trial 99"),
        (("sample", "--out", "o.h5"), 1, "no checkpoint"),
        (("sample",), 2, "--out"),
    ],
    "discover-categories": [
        (("nowhere", "--out", "groups.json"), 1, "nowhere"),
        (("new.hdf5", "--out", "walk.py"), 1, "is there already"),
        (("new.hdf5",), 2, "--out"),
    ],
    "verify": [
        (("nope",), 1, "no run `nope`"),
        (("sample", "--same-as", "nope"), 1, "no run `nope`"),
    ],
    "watch": [(("nope",), 1, "no run `nope`")],
    "check": [
        (("quickstrat",), 1, "`quickstart`"),
        (("walk.py", "--families", "wlak"), 1, "`walk`"),
        (("walk.py", "--epochs", "-1"), 1, "positive"),
        (("walk.py", "--workers", "some"), 1, "a positive number or `auto`"),
        (("walk.py", "--set", "novalue"), 1, "KEY=VALUE"),
    ],
    "simulate": [
        (("nope",), 1, "`nope`"),
        (("sample", "--seeds", "0"), 2, "--seeds"),
        (("hpo_nmt", "--data", "nowhere"), 1, "nowhere"),
    ],
    "list": [(("thoughts",), 2, "thoughts"), ((), 2, "WHAT")],
    "doctor": [
        (("--timeout", "soon"), 1, "duration"),
        (("--timeout", "0s"), 1, "longer than nothing"),
    ],
}
WITH_RUN = sorted(n for n, c in TREE.items() if any(p.name == "run" for p in c.params))
WITH_STUDY = sorted(
    n for n, c in TREE.items() if any(p.name == "study" for p in c.params)
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a run, a study file and new data, and nothing of ours."""
    monkeypatch.chdir(tmp_path)
    sample_run.write(tmp_path / "results")
    (tmp_path / "walk.py").write_text(sample_run.WALK)
    with h5py.File(tmp_path / "new.hdf5", "w") as file:
        file["u0"] = [0.0] * 10
    return tmp_path


def sample(place):
    return next(place.glob("results/sample/*"))


def test_every_command_has_its_bad_input():
    assert set(CALLS) == set(MISTAKES) == set(TREE)
    assert all(MISTAKES.values())


@pytest.mark.parametrize(
    ("command", "arguments", "status", "words"),
    [(c, *row) for c, rows in MISTAKES.items() for row in rows],
)
def test_a_mistake_is_told(command, arguments, status, words, place):
    refused(run(command, *arguments), words, status=status)
    assert not (place / "out.hdf5").exists()


def typed():
    """(command, option) of every option that takes a number or one of some words."""
    for info in app.registered_commands:
        kinds = typing.get_type_hints(info.callback)
        for option in TREE[info.name].params:
            if not option.opts[0].startswith("--") or option.name not in kinds:
                continue
            kind = kinds[option.name]
            for one in typing.get_args(kind) or (kind,):
                if one in (int, float) or (
                    isinstance(one, type) and issubclass(one, Enum)
                ):
                    yield info.name, option.opts[0]


@pytest.mark.parametrize(("command", "option"), list(typed()))
def test_options_that_count_or_choose_refuse_words(command, option, place):
    result = run(command, *CALLS[command], option, "nonsense")
    refused(result, option, "nonsense", status=2)


def test_options_that_count_or_choose_were_found():
    found = set(typed())
    assert {("launch", "--trials"), ("results", "--format"), ("clean", "--keep"),
            ("launch", "--gpus-per-trial"), ("best", "--as")} <= found  # fmt: skip


@pytest.mark.parametrize("command", sorted(TREE))
def test_unknown_options_are_refused(command, place):
    refused(run(command, *CALLS[command], "--frobnicate"), "--frobnicate", status=2)


def without_runs(place):
    shutil.rmtree(place / "results")


def results_are_a_file(place):
    without_runs(place)
    (place / "results").write_text("")


def a_run_that_is_a_file(place):
    folder = sample(place)
    shutil.rmtree(folder)
    folder.write_text("")


def no_json(place):
    (sample(place) / "study.json").write_text("{")


def bytes_for_json(place):
    (sample(place) / "study.json").write_bytes(b"\xff\xfe\x00")


def a_list_for_an_object(place):
    (sample(place) / "study.json").write_text("[]")


def an_empty_study(place):
    (sample(place) / "study.json").write_text('{"schema": 1, "study": {}}')


def a_wrong_study(place):
    (sample(place) / "study.json").write_text('{"schema": 1, "study": 3}')


def another_schema(place):
    (sample(place) / "study.json").write_text('{"schema": 99, "study": {}}')


def no_study(place):
    (sample(place) / "study.json").unlink()


def a_folder_for_the_study(place):
    no_study(place)
    (sample(place) / "study.json").mkdir()


def a_folder_for_the_ledger(place):
    (sample(place) / "events.jsonl").unlink()
    (sample(place) / "events.jsonl").mkdir()


def bytes_for_the_ledger(place):
    (sample(place) / "events.jsonl").write_bytes(b"\xff\x00\n" * 3)


def numbers_for_the_ledger(place):
    (sample(place) / "events.jsonl").write_text("1\n2\n3\n")


DAMAGE = (
    *(without_runs, results_are_a_file, a_run_that_is_a_file, no_json, bytes_for_json),
    *(a_list_for_an_object, an_empty_study, a_wrong_study, another_schema, no_study),
    *(a_folder_for_the_study, a_folder_for_the_ledger, bytes_for_the_ledger),
    numbers_for_the_ledger,
)


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda d: d.__name__)
@pytest.mark.parametrize("command", WITH_RUN)
def test_a_run_that_is_no_run_is_told(command, damage, place):
    damage(place)
    result = run(command, *CALLS[command])
    if command == "verify" and result.exit_code == 3:
        # That a ledger is damaged is what it was asked for: it says where, as a result.
        assert "line 1: it cannot be read" in result.stdout
    else:
        refused(result)
    assert "internal error" not in result.stderr
    assert len(result.stderr.split("error: ", 1)[1]) > 15  # says what


@pytest.mark.parametrize("command", WITH_RUN)
def test_a_run_given_as_a_file_is_told(command, place):
    result = run(command, "walk.py", *CALLS[command][1:])
    refused(result, "walk.py")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("objective", {"metric": "rmse", "limit": "20_000"}, "'20_000'"),
        ("objective", {"metric": "rmse", "unit": 3}, "unit is text, got 3"),
        ("description", 3, "a study's description is a str, got 3"),
    ],
)
def test_a_run_of_the_wrong_form_from_before_is_told_and_hides_no_other(
    key, value, words, place
):
    """Studies of the wrong form were launched until they were refused."""
    good = sample(place)
    bad = good.with_name("20260101-130000-0123abcd")
    shutil.copytree(good, bad)
    record = json.loads((bad / "study.json").read_text())
    if key == "objective":
        record["study"]["objectives"] = [value]
    else:
        record["study"][key] = value
    (bad / "study.json").write_text(json.dumps(record))
    listed = run("list", "runs", "--format", "json")
    assert listed.exit_code == 0, listed.output
    first, second = json.loads(listed.stdout)
    assert first["run"] == bad.name and first["state"] == "unreadable"
    assert words in first["error"] and words in listed.stderr
    assert second["run"] == good.name and second["best"] == 0.00097
    for command in ("results", "best", "report", "resume"):
        result = run(command, bad, *CALLS[command][1:])
        refused(result, words)
        assert "internal error" not in result.stderr


def test_a_run_that_nobody_foresaw_hides_no_other(place, monkeypatch):
    """A bug of ours with one run is told in its row."""
    from hpo.report import summary

    good, load = sample(place), summary.load_summary
    bad = good.with_name("20260101-130000-0123abcd")
    shutil.copytree(good, bad)

    def loaded(folder):
        if Path(folder).name == bad.name:
            raise ZeroDivisionError("by nothing")
        return load(folder)

    monkeypatch.setattr(summary, "load_summary", loaded)
    listed = run("list", "runs", "--format", "csv")
    assert listed.exit_code == 0, listed.output
    assert f"sample,{bad.name},,unreadable," in listed.stdout
    assert listed.stderr == f"sample/{bad.name}: ZeroDivisionError: by nothing\n"
    assert f"sample,{good.name},11/11,unfinished,0.00097" in listed.stdout


FORMS = {
    "objective.limit": ("NaN", '"20_000"', "Infinity", "true", "[1]"),
    "objective.metric": ("3", "null", "[]"),
    "objective.unit": ("3", "null"),
    "description": ("3", "null", "{}"),
    "warm_start": ("3", "null", '[{"run": 3}]', '[{"run": null}]', "[null]"),
    "sampler": (
        *("{}", '{"name": null}', '{"name": "tpe", "options": [1]}', '{"options": {}}'),
        *("3", "null", '{"name": "tpe", "options": null}'),
    ),
    "stopping": (
        *('[{"options": {}}]', '[{"name": "halving", "options": 3}]', "[3]", "{}"),
        *('[{"name": ["asha"]}]', "3"),
    ),
    "resources.gpus_per_trial": ("Infinity", "NaN", '"1"', "1e7"),
    "resources.per_trial": ("3", '{"a100": NaN}'),
    "families.walk.share": ("Infinity", "NaN", "null"),
}


@pytest.mark.parametrize(
    ("key", "value"), [(k, value) for k, values in FORMS.items() for value in values]
)
def test_values_of_the_wrong_form_are_told_before_there_is_a_run(key, value, place):
    text = f"{key}={value}"
    result = run("launch", "walk.py", "--set", text, "--results", "fresh")
    refused(result)
    assert "internal error" not in result.stderr
    assert not (place / "fresh").exists()


@pytest.mark.parametrize("value", ["inf", "nan", "-1", "1e7"])
def test_a_share_of_a_gpu_is_finite(value, place):
    result = run("launch", "walk.py", "--gpus-per-trial", value, "--results", "fresh")
    refused(result, "gpus_per_trial must be a finite number")
    assert not (place / "fresh").exists()


@pytest.mark.parametrize(
    ("command", "more"),
    [
        *(("results", ()), ("stop", ()), ("watch", ())),
        ("export", ("--to", "optuna")),
    ],
)
def test_commands_in_hints_can_be_pasted(command, more, place):
    """A folder with a space in its name is one word of the command that a hint prints."""
    folder = place / "results" / "two words"
    shutil.move(place / "results" / "sample", folder)
    (path,) = folder.iterdir()
    result = run(command, path, *more)
    texts = re.findall(r"`([^`]*)`", result.stderr)
    found = [text for text in texts if "two words" in text]
    assert found, result.output
    for text in found:
        assert any(str(path) in word for word in shlex.split(text)), text


def test_no_message_puts_a_path_into_a_command_by_hand():
    """`hpo.pasted` does, which puts it in quotes where it needs them."""
    mark = re.compile(rf"\bhpo ({'|'.join(TREE)}) \{{")
    found = [
        f"{file}: {line.strip()}"
        for file in (ROOT / "hpo").rglob("*.py")
        for line in file.read_text().splitlines()
        if mark.search(line)
    ]
    assert not found


def test_a_launch_suggests_keys_of_the_study_too(place):
    whole = run("launch", "walk.py", "--set", "nosuch=3")
    refused(whole, "no setting of the study knows the key `nosuch`", "budget.trials")


def test_damaged_runs_are_listed_with_what_is_wrong(place):
    for damage in (no_json, a_wrong_study, bytes_for_the_ledger):
        damage(place)
        result = run("list", "runs")
        assert result.exit_code == 0, result.output
        folder = sample(place)
        assert result.stdout.split()[-3:] == ["sample", folder.name, "unreadable"]
        assert result.stderr.startswith(f"sample/{folder.name}: results/sample")


def test_one_damaged_run_leaves_the_table_as_narrow_as_it_was(place):
    whole = run("list", "runs").stdout.splitlines()
    bad = sample(place).with_name("20260101-130000-0123abcd")
    shutil.copytree(sample(place), bad)
    (bad / "study.json").write_text("{")
    lines = run("list", "runs").stdout.splitlines()
    assert len(lines) == len(whole) + 1
    assert lines[0] == whole[0] and lines[2] == whole[1]


BROKEN = {
    "syntax": (b"x = (\n", "line 1: SyntaxError"),
    "raises": (b"a = 1\nb = a / 0\n", "line 2: ZeroDivisionError"),
    "import": (b"import no_such_package\n", "ModuleNotFoundError"),
    "without": (b"x = 1\n", "it defines nothing"),
    "other": (b"STUDY = 3\n", "it defines a int"),
    "exits": (b"raise SystemExit\n", "SystemExit"),
    "bytes": (b"x = '\xff\xfe'\n", "UTF-8"),
    "null": (b"x = 1\x00\n", "cannot be read as Python"),
    "empty": (b"", "it defines nothing"),
    "deep": (b"x = " + b"(" * 500 + b")" * 500, "broken.py"),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("command", WITH_STUDY)
def test_a_broken_study_file_is_told(command, kind, place):
    text, words = BROKEN[kind]
    (place / "broken.py").write_bytes(text)
    result = run(command, "broken.py")
    refused(result, "broken.py", words)
    assert "internal error" not in result.stderr


@pytest.mark.parametrize("command", WITH_STUDY)
def test_a_folder_is_no_study_file(command, place):
    (place / "folder.py").mkdir()
    refused(run(command, "folder.py"), "no study file `folder.py`")


def test_a_file_that_is_no_hdf5_is_told(place):
    from models.errors import DataError
    from models.tasks import task_of

    (place / "text.hdf5").write_text("no HDF5")
    reference = {"name": "x", "path": str(place), "inputs": ["u0"], "outputs": ["y0"]}
    (place / "train").mkdir()
    shutil.copy(place / "new.hdf5", place / "train/new.hdf5")
    for task in ("simulation", "prediction"):
        with pytest.raises(DataError, match="cannot be read as an HDF5 file"):
            task_of(task).from_file(place / "text.hdf5", data=reference)


def test_debug_shows_the_traceback_of_every_command(place):
    for command in WITH_RUN:
        result = run("--debug", command, "nope", *CALLS[command][1:])
        assert result.exit_code == 1
        assert "Traceback" in result.stderr and "error: no run" in result.stderr
        plain = run(command, "nope", *CALLS[command][1:])
        assert "Traceback" not in plain.stderr


def process(place, *arguments, stdout=subprocess.PIPE, **more):
    """`hpo ARGUMENTS` as a process of its own, in `place`."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **more.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-m", "hpo.cli.main", *arguments],
        cwd=place,
        env={k: v for k, v in env.items() if v is not None},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


@pytest.mark.parametrize(
    "arguments",
    [("results", "sample"), ("list", "samplers"), ("show", "sample", "1"),
     ("best", "sample"), ("diff", "sample", "1", "2")],
)  # fmt: skip
def test_a_reader_that_has_left_is_no_error(arguments, place):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as closed:
        done = process(place, *arguments, stdout=closed)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and "Broken" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_told(place):
    with open("/dev/full", "wb") as full:
        done = process(place, "results", "sample", stdout=full)
    assert done.returncode == 1
    assert "error: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr and "ignored" not in done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("HPO_CACHE", "walk.py", "error: the cache"),
        ("HPO_CACHE", "walk.py/cache", "error: the cache"),
        ("HPO_KERNELS", "x86-64-v5", "did you mean `x86-64-v"),
    ],
)
def test_a_variable_that_cannot_be_used_is_told_before_there_is_a_run(
    variable, value, message, place
):
    if variable == "HPO_CACHE":
        value = str(place / value)
    words = ("launch", "walk.py", "--executor", "local", "--results", "fresh")
    done = process(place, *words, env={variable: value})
    assert done.returncode == 1
    assert message in done.stderr and variable in done.stderr
    assert "Traceback" not in done.stderr
    assert not (place / "fresh").exists()


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0,
    reason="needs root, to become somebody without rights",
)
def test_without_rights_and_without_a_home_every_command_is_told(place):
    """As a user who is nobody: no entry in the list of users, no home, a closed folder."""
    for folder in (place, *place.parents):
        if folder != Path("/") and folder != Path("/tmp"):
            folder.chmod(0o755)
    sample(place).chmod(0o700)
    (place / "walk.py").chmod(0o600)
    for flag, path in (("-r", ROOT / "hpo/cli/main.py"), ("-x", sys.executable)):
        if subprocess.run(["test", flag, str(path)], user=54321).returncode:
            pytest.skip(f"nobody else may use {path}")
    nobody = {"user": 54321, "group": 54321, "extra_groups": []}
    env = {"HOME": None, "HPO_CACHE": None, "PYTHONDONTWRITEBYTECODE": "1"}
    script = (
        "import sys; from hpo.cli.main import app\n"
        "from typer.testing import CliRunner\n"
        "for words in sys.stdin.read().splitlines():\n"
        "    found = CliRunner().invoke(app, words.split('|'), prog_name='hpo')\n"
        "    text = found.stderr.replace(chr(10), ' ~ ')\n"
        "    print(found.exit_code, words, text, sep='\\t')\n"
    )
    closed = str(sample(place))
    calls = [("|".join((c, closed, *CALLS[c][1:]))) for c in WITH_RUN]
    calls += [f"{c}|walk.py" for c in WITH_STUDY]
    calls += ["launch|quickstart|--results|results", "doctor|--timeout|soon"]
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=place,
        env={
            k: v for k, v in {**os.environ, "PYTHONPATH": str(ROOT), **env}.items() if v
        },
        input="\n".join(calls),
        capture_output=True,
        text=True,
        **nobody,
    )
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(lines) == len(calls), done.stderr
    for status, words, text in lines:
        assert status == "1" and "error: " in text, (words, status, text)
        assert "Traceback" not in text and "internal error" not in text, (words, text)
