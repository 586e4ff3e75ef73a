"""What the README tells a newcomer to do works as it stands there."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import scipy.signal

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def hpo(*arguments, cwd):
    done = subprocess.run(
        [sys.executable, "-m", "hpo.cli.main", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_data(folder):
    """A lag of the first order, excited by noise, in the README's layout."""
    random = np.random.default_rng(0)
    for part, length in (("train", 1500), ("valid", 500), ("test", 500)):
        (folder / part).mkdir(parents=True)
        u = random.normal(size=length)
        y = scipy.signal.lfilter([0.2], [1, -0.8], u)
        with h5py.File(folder / part / "record.hdf5", "w") as file:
            file["u0"], file["y0"] = u, y
            file.attrs["fs"] = 10.0


def test_a_study_of_ones_own_data(tmp_path):
    """The page's study on a folder like the page's, shortened by options alone."""
    write_data(tmp_path / "mydata")
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    (study,) = [block for block in blocks if "STUDY" in block]
    (tmp_path / "pump.py").write_text(study)
    short = ("--trials", 2, "--epochs", 1, "--executor", "local")
    hpo("launch", "pump.py", *short, "--set", "data.batches=2", cwd=tmp_path)
    hpo("resume", "pump", cwd=tmp_path)
    rows = json.loads(hpo("results", "pump", "--format", "json", cwd=tmp_path))
    assert [row["state"] for row in rows] == ["completed", "completed"]
    assert {row["unit"] for row in rows} == {"bar"}
    assert "completed" in hpo("show", "latest", rows[0]["trial"], cwd=tmp_path)


def test_ci_runs_the_readmes_own_command():
    script = (ROOT / ".ci" / "run").read_text()
    (extraction,) = re.findall(r"^command=\$\((.*)\)$", script, flags=re.MULTILINE)
    words = shlex.split(extraction)
    command = subprocess.check_output(words, cwd=ROOT, text=True).strip()
    assert command.startswith("python3 -m venv .venv && ") and "[test]" in command
    assert f"```\n{command}\n```" in README
