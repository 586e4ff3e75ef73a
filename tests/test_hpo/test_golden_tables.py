"""The whole output of commands: at three widths, without a terminal, with one, and in ASCII."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hpo.ledger.folder import RunFolder
from tests.test_hpo import sample_run, test_fidelity
from tests.test_hpo.command_line import run

ROOT = Path(__file__).parent.parent.parent
COMMANDS = {
    "results": ("results", "sample"),
    "results-family": ("results", "sample", "--family", "linear"),
    "results-unfinished": ("results", "sample", "--top", 1),
    "rungs": ("results", "ranks", "--rungs"),
    "show": ("show", "sample", 7),
    "show-failed": ("show", "sample", 5),
    "show-misled": ("show", "ranks", 3),
    "diff": ("diff", "sample", 1, 3),
    "best": ("best", "sample"),
    "best-yaml": ("best", "sample", "--as", "yaml"),
    "list-runs": ("list", "runs"),
    "note": ("note", "sample", 3, "worth another look, with a smaller learning rate"),
    "clean": ("clean", "sample", "--dry-run"),
    "stop": ("stop", "sample"),
    "export": ("export", "sample", "--to", "csv"),
    "export-optuna": ("export", "sample", "--to", "optuna"),
    "no-run": ("results", "smaple"),
}
_BREAKS = ("stop", "no-run")  # these refuse


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Two runs below `results`, found from the current folder."""
    monkeypatch.chdir(tmp_path)
    folder = RunFolder(sample_run.write(tmp_path / "results"))
    test_fidelity.write(tmp_path / "results", test_fidelity.mixed())
    for trial, attempt, size in ((3, 1, 1_234_567), (6, 1, 812), (7, 2, 40_000)):
        where = folder.attempt(trial, attempt)
        where.mkdir(parents=True)
        (where / "state.safetensors").write_bytes(b"x" * size)
    return tmp_path


@pytest.mark.parametrize("columns", [80, 120, 200])
@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_command_prints(name, columns, place):
    result = run(*COMMANDS[name], columns=columns)
    assert (result.exit_code == 0) is (name not in _BREAKS), result.stderr
    assert "\x1b" not in result.output
    text = f"{result.stdout}---- stderr\n{result.stderr}"
    sample_run.check_golden(f"tables/{name}-{columns}.txt", text)
    if name not in ("best", "best-yaml"):  # data is not folded
        tables = result.stdout.splitlines()
        assert max(map(len, tables), default=0) <= columns, name


def shown(arguments, place, *, terminal, **env):
    """Bytes that `hpo` writes to stdout, on a terminal or into a pipe."""
    master, slave = pty.openpty()
    plain = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "LC_ALL")}
    with subprocess.Popen(
        [sys.executable, "-m", "hpo.cli.main", *map(str, arguments)],
        cwd=place,
        env={**plain, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "80", **env},
        stdout=slave if terminal else subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        os.close(slave)
        told, said = b"", b""
        if terminal:
            try:
                while piece := os.read(master, 65536):
                    told += piece
            except OSError:  # so Linux says that the other end is closed
                pass
            said = child.stderr.read()
        else:
            told, said = child.communicate(timeout=60)
    os.close(master)
    assert child.returncode == 0, said
    return told.replace(b"\r\n", b"\n")


def test_colour_is_for_terminals_that_want_it(place):
    table = COMMANDS["results"]
    coloured = shown(table, place, terminal=True)
    assert b"\x1b[" in coloured
    plain = shown(table, place, terminal=False)
    assert b"\x1b" not in plain
    assert shown(table, place, terminal=True, NO_COLOR="1") == plain
    assert re.sub(rb"\x1b\[[0-9;]*m", b"", coloured) == plain


@pytest.mark.parametrize(
    "env", [{"LANG": "C"}, {"LC_ALL": "POSIX"}, {"PYTHONIOENCODING": "ascii"}]
)
def test_ascii_is_enough_where_there_is_no_more(env, place):
    folder = next(iter(RunFolder.list(place / "results", "sample")))
    text = folder.study_file.read_text().replace('"unit": "V"', '"unit": "\\u03a9"')
    folder.study_file.write_text(text)
    told = shown(COMMANDS["show"], place, terminal=False, **env)
    assert (
        told.isascii() and b"rmse [mOhm]" in told and b"50.000 #*-..___ 3.710" in told
    )
    table = shown(COMMANDS["results"], place, terminal=False, **env)
    assert table.isascii() and b"[mOhm]" in table and b"-----" in table
    unicode = shown(COMMANDS["results"], place, terminal=False, LANG="C.UTF-8")
    assert "─" in unicode.decode() and "[mΩ]" in unicode.decode()


@pytest.mark.parametrize("env", [{"LANG": "C"}, {"PYTHONIOENCODING": "latin-1"}])
@pytest.mark.parametrize("form", ["json", "csv", "markdown", "latex"])
def test_data_is_the_same_in_every_locale(env, form, place):
    """What a program reads is UTF-8 and as it was: only tables and remarks are for terminals."""
    folder = next(iter(RunFolder.list(place / "results", "sample")))
    text = folder.study_file.read_text().replace('"unit": "V"', '"unit": "\\u03a9"')
    folder.study_file.write_text(text.replace('"lstm"', '"\\u2014"'))
    ledger = folder.events_file.read_text().replace('"lstm"', '"\\u2014"')
    folder.events_file.write_text(ledger)
    arguments = ("results", "sample", "--format", form)
    told = shown(arguments, place, terminal=False, **env)
    assert told == shown(arguments, place, terminal=False, LC_ALL="C.UTF-8")
    if form != "latex":  # which has words for such signs
        text = told.decode()
        assert "—" in (str(json.loads(text)) if form == "json" else text)


def test_a_path_is_printed_as_the_disk_has_it(place):
    """Also one that is no UTF-8."""
    for name in ("größe—µ.csv".encode(), b"gr\xf6\xdfe.csv"):
        arguments = ("export", "sample", "--to", "csv", "--out", os.fsdecode(name))
        told = shown(arguments, place, terminal=False, LANG="C", LC_ALL="C")
        assert told == name + b"\n"
        assert (os.fsencode(place) + b"/" + name) in [
            os.fsencode(path) for path in place.iterdir()
        ]
