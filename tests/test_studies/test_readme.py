"""The README's instructions work as they stand there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpo.search import samplers
from hpo.stopping import rules

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"<!-- page: (\S+) -->\n```(?:python)?\n(.*?)```", re.DOTALL)


def page():
    """(file name or ``commands``, text) of every block of the section, in order."""
    (section,) = re.findall(
        r"^## Your own data\n(.*?)^## ", README, re.DOTALL | re.MULTILINE
    )
    blocks = BLOCK.findall(section)
    assert section.count("```") == 2 * len(blocks), "a block without its `page:` mark"
    return blocks


def do(line, folder):
    """Run one line of the page as its reader would, in `folder`."""
    scripts = os.path.dirname(sys.executable)
    done = subprocess.run(
        line,
        shell=True,
        cwd=folder,
        env={
            **os.environ,
            "PATH": scripts + os.pathsep + os.environ["PATH"],
            "PYTHONPATH": str(ROOT),  # this checkout, wherever `hpo` was installed from
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, f"{line}\n{done.stderr}"
    return done


def follow(page, folder):
    """Do what a page says, from its first block to its last; all that was printed."""
    said = ""
    for name, text in BLOCK.findall(page):
        if name != "commands":
            (folder / name).write_text(text)
            continue
        for line in text.strip().splitlines():
            said += do(line, folder).stdout
    return said


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_page_leads_from_arrays_to_a_tuned_model(tmp_path):
    """Every block of the page, as it stands there, in an empty folder."""
    said = {}
    for name, text in page():
        if name != "commands":
            (tmp_path / name).write_text(text)
            continue
        for line in text.strip().splitlines():
            words = shlex.split(line, comments=True)
            said[" ".join(words[:2])] = do(line, tmp_path)
    commands = ("check", "launch", "results", "rerun", "best", "predict")
    assert {f"hpo {c}" for c in commands} <= set(said)
    assert "4 of 4 trials ended" in said["hpo launch"].stdout
    assert "rmse" in said["hpo results"].stdout and "bar" in said["hpo results"].stdout
    assert "2 fresh seeds" in said["hpo rerun"].stdout
    assert "optimizer.learning_rate" in said["hpo best"].stdout
    with (
        h5py.File(tmp_path / "predicted.hdf5") as predicted,
        h5py.File(tmp_path / "mydata/test/pump.hdf5") as test,
    ):
        assert predicted["y0"].shape == test["y0"].shape
        assert predicted.attrs["fs"] == test.attrs["fs"]
        assert np.isfinite(predicted["y0"][:]).all()
        last = predicted["y0"][-1]
        rmse = np.sqrt(np.mean((predicted["y0"][:] - test["y0"][:]) ** 2))
    assert f"{last:.4f}"[:6] in said["python use.py"].stdout  # the same model
    printed = re.search(r"rmse ([\d.e-]+) (m?)bar", said["hpo predict"].stderr)
    factor = 1e-3 if printed[2] else 1.0  # the unit is the study's: the files name none
    assert float(printed[1]) * factor == pytest.approx(rmse, rel=0.01)


def test_the_page_is_one_page():
    assert sum(len(text.splitlines()) for _, text in page()) < 60
    data = next(text for name, text in page() if name == "make_data.py")
    assert len(data.split("random =")[1].splitlines()) <= 10


def test_every_command_is_in_the_readmes_table():
    import typer.main

    from hpo.cli.main import app

    named = set(re.findall(r"^\| `hpo ([\w-]+)", README, re.MULTILINE))
    assert named == set(typer.main.get_command(app).commands)


def test_the_first_command_installs_what_can_be_added_to():
    """A copy in site-packages would not see what is put into `models/` (test_installations)."""
    (command,) = re.findall(
        r"^<!-- quickstart -->\n```\n(.*)\n```$", README, re.MULTILINE
    )
    assert " -e . && " in command and command.endswith("hpo launch quickstart")


@pytest.mark.parametrize(
    ("what", "searched"), [("a sampler", samplers), ("a stopping rule", rules)]
)
def test_contributing_names_the_folder_that_is_searched(what, searched):
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (folder,) = re.findall(
        rf"^\| {what} \| one module in `(\S+)/` \|", text, re.MULTILINE
    )
    assert [str(ROOT / folder)] == list(searched.__path__)


def test_ci_runs_the_readmes_own_command():
    script = (ROOT / ".ci" / "run").read_text()
    (extraction,) = re.findall(r"^command=\$\((.*)\)$", script, flags=re.MULTILINE)
    words = shlex.split(extraction)
    command = subprocess.check_output(words, cwd=ROOT, text=True).strip()
    assert command.startswith("python3 -m venv .venv && ") and "[test]" in command
    assert f"```\n{command}\n```" in README
