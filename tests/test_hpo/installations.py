"""The project as people have it: a clone, and an environment that finds it in one of three ways.

The environments are fresh, without what pytest puts on the path of its own process. What the
project depends on comes from the environment of the running tests: no network is needed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
KINDS = ("regular", "editable", "PYTHONPATH")

# Three files that somebody adds. They train nothing, and say where a worker found them.
WALK = '''
"""A walk with plain Python."""

import sys


class Walk:
    def __init__(self, config, context):
        self.rate = config["rate"]

    def fit_iter(self, epochs):
        for n in range(1, epochs + 1):
            yield {"rmse": self.rate / n}


def create(config, context):
    for name in ("hpo", "models"):
        print("worker has", sys.modules[name].__file__)
    return Walk(config, context)
'''
SPACE = '''
"""A space for the walk."""

from optuna.distributions import FloatDistribution
from search_spaces.space import Space

SPACE = Space({"rate": FloatDistribution(0.1, 1.0)})
'''
STUDY = '''
"""A walk of the models, and one of this study's own."""

from hpo.study import Budget, Family, Study
from models import walk as ours
from search_spaces import walk


def create(config, context):
    return ours.create(config, context)


STUDY = Study(
    name="walks",
    families=(
        Family(name="walk", space=walk.SPACE),
        Family(name="own", space=walk.SPACE, create=create),
    ),
    budget=Budget(trials=2, epochs=2),
)
'''
SCRIPT = """
import sys
from hpo import HPOptimizer
from models import walk as ours
from search_spaces import walk


def create(config, context):
    return ours.create(config, context)


settings = {"trials": 2, "stopping": ["none"], "executor": sys.argv[1]}
HPOptimizer(create).optimize(walk.SPACE, 2, **settings)
"""


@dataclass(frozen=True)
class Installation:
    """A clone and an environment.

    Attributes:
        kind: One of `KINDS`.
        clone: A copy of this checkout.
        environment: A virtual environment, with the project in it unless `PYTHONPATH` says
            where it is.
    """

    kind: str
    clone: Path
    environment: Path

    @property
    def home(self):
        """Where our packages lie for a process that is started anywhere."""
        return self.site_packages if self.kind == "regular" else self.clone

    @property
    def site_packages(self):
        where = {"base": str(self.environment), "platbase": str(self.environment)}
        return Path(sysconfig.get_path("purelib", "venv", where))

    def hpo(self, *words, folder):
        """Run the command as it is started there."""
        if self.kind == "PYTHONPATH":  # there is no script
            return self.python("-m", "hpo.cli.main", *words, folder=folder)
        return self._run(self.environment / "bin" / "hpo", *words, folder=folder)

    def python(self, *words, folder):
        """Run Python in a folder; it must succeed."""
        return self._run(self.environment / "bin" / "python", *words, folder=folder)

    def _run(self, *words, folder):
        known = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        if self.kind == "PYTHONPATH":
            known["PYTHONPATH"] = str(self.clone)
        done = subprocess.run(
            [str(w) for w in words],
            cwd=folder,
            env=known,
            capture_output=True,
            text=True,
        )
        told = f"{words}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == 0 and "Traceback" not in done.stderr, told
        return done


def install(kind, place):
    """Clone and install; the three files are there before, or after where that is enough."""
    clone, environment = place / "clone", place / "environment"
    clone.mkdir(parents=True)
    for name in ("hpo", "models", "search_spaces", "studies"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, clone / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    venv.create(environment, with_pip=False)
    made = Installation(kind, clone, environment)
    theirs = [p for p in sys.path if Path(p).name in ("site-packages", "dist-packages")]
    (made.site_packages / "dependencies.pth").write_text("\n".join(theirs))
    if kind == "editable":
        pip_install("-e", clone, environment=environment)
    for folder, text in {"models": WALK, "search_spaces": SPACE}.items():
        (clone / folder / "walk.py").write_text(text)
    (clone / "studies" / "walks.py").write_text(STUDY)
    if kind == "regular":
        pip_install(clone, environment=environment)
    return made


def pip_install(*what, environment):
    python = environment / "bin" / "python"
    options = ("--no-index", "--no-deps", "--no-build-isolation", "-q")
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", *options, *what],
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        check=True,
    )
