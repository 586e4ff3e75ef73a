"""Runs `hpo` inside the test's process, and says what a refusal must look like."""

from __future__ import annotations

import os

from typer.testing import CliRunner

from hpo.cli.main import app


def run(*arguments, columns=80):
    """The result of `hpo ARGUMENTS` without colours and without a terminal."""
    env = {"COLUMNS": str(columns), "NO_COLOR": "1"}
    before = dict(os.environ)
    try:
        return CliRunner().invoke(
            app, [str(a) for a in arguments], env=env, prog_name="hpo"
        )
    finally:  # a command may set up its own process as a worker
        os.environ.clear()
        os.environ.update(before)


def refused(result, *words, status=1):
    """A clear message on stderr, nothing on stdout, no traceback, the right status."""
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ") or "\nerror: " in result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr, result.stderr
