"""docs/adding-a-family.md, followed to the letter in a copy of the project."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding-a-family.md").read_text()
BLOCK = re.compile(r"<!-- (.+?) -->\n```(?:python)?\n(.*?)```", re.DOTALL)
GOLDEN = "tests/golden/spaces/nfir.txt"


def blocks(mark):
    """(name behind the mark, text) of every block of the page with that mark, in order."""
    for label, text in BLOCK.findall(PAGE):
        word, _, name = label.partition(": ")
        if word == mark:
            yield name, text


@pytest.fixture
def project(tmp_path):
    """A copy of this working tree in a repository of its own, everything committed."""
    copy = tmp_path / "project"
    listed = git(ROOT, "ls-files", "-z", "-co", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    git(copy, "init", "-q")
    git(copy, "add", "-A")
    git(copy, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "before")
    return copy


@pytest.fixture
def do(project, tmp_path):
    """Runs a line as the page's reader would, where `python` and `hpo` are the copy's."""
    scripts = tmp_path / "bin"
    scripts.mkdir()
    for name, words in {"python": "", "hpo": "-m hpo.cli.main"}.items():
        script = scripts / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        script.chmod(0o755)
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")} | {
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(project),
        "PYTEST_ADDOPTS": f"--basetemp={tmp_path / 'inner'}",
        "HPO_KERNELS": "off",
    }

    def run(line, folder):
        done = subprocess.run(
            line, shell=True, cwd=folder, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


def git(folder, *words):
    return subprocess.check_output(["git", *words], cwd=folder, text=True)


def changed(project):
    """Every file that is new or differs, as `git status` names it."""
    lines = git(project, "status", "--porcelain", "-uall").splitlines()
    return [line[3:] for line in lines]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_playbook_adds_a_family_with_three_files(project, do, tmp_path):
    for name, text in blocks("file"):
        assert not (project / name).exists(), f"{name} is there already"
        (project / name).write_text(text)
    git(project, "add", "--intent-to-add", "-A")
    stat = git(project, "diff", "--stat").splitlines()
    assert len(stat) == 4 and "3 files changed" in stat[-1], stat
    said = {}
    for line in commands("commands"):
        said[line] = do(line, project)
    passed = [
        int(n) for text in said.values() for n in re.findall(r"(\d+) passed", text)
    ]
    assert len(passed) == 4, said  # the suite of spaces is run twice
    assert passed[0] >= 1 and passed[1] >= 20, "the suites did not find the family"
    assert "wrote" in said[line_with("test_search_spaces")]
    assert re.search(r"^nfir +simulation, prediction", said["hpo list families"], re.M)
    wanted = sorted([*(name for name, _ in blocks("file")), GOLDEN])
    assert sorted(changed(project)) == wanted, "more than the playbook says has changed"

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name, text in blocks("study"):
        (elsewhere / name).write_text(text)
    said = {line: do(line, elsewhere) for line in commands("study commands")}
    assert "3 of 3 trials ended (3 completed)" in said[line_with("launch")]
    assert "equal: every number of 2 epochs" in said[line_with("rerun")]
    assert sorted(changed(project)) == wanted


def commands(mark):
    """The lines of the blocks with that mark."""
    return [line for _, text in blocks(mark) for line in text.strip().splitlines()]


def line_with(word):
    """The one command of the page that has a word."""
    lines = [*commands("commands"), *commands("study commands")]
    (line,) = (line for line in lines if word in line)
    return line


def test_every_block_of_the_page_is_followed():
    marks = [label.partition(": ")[0] for label, _ in BLOCK.findall(PAGE)]
    assert set(marks) == {"file", "commands", "study", "study commands"}
    assert PAGE.count("```") == 2 * len(marks), "a block without its mark"
    assert len(list(blocks("file"))) == 3
