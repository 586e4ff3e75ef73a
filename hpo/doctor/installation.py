"""The installation examined: versions, our packages, extras, git, datasets."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.requirements import InvalidRequirement, Requirement

from hpo.doctor.finding import Finding, judged
from hpo.packages import PACKAGES, describe_dataset, ours
from hpo.packages import datasets as known_datasets
from models.errors import UserError

DISTRIBUTION = "hpo-harness"
# extra or export: the packages it imports, and how to get them
EXTRAS = {
    "sampler cmaes": (("cmaes",), f"pip install '{DISTRIBUTION}[cmaes]'"),
    "sampler gp": (("torch", "scipy"), f"pip install '{DISTRIBUTION}[gp]'"),
    "export tensorboard": (("tensorboardX",), "pip install tensorboardX"),
    "export parquet": (("pyarrow",), "pip install pyarrow"),
}
_MINIMUM = (3, 11)


def versions() -> Iterator[Finding]:
    """Python, this distribution, and every package that it requires."""
    python = platform.python_version()
    old = sys.version_info[:2] < _MINIMUM
    wanted = ".".join(map(str, _MINIMUM))
    yield judged(
        "python",
        f"{python} ({sys.executable})",
        problem="error" if old else None,
        remedy=f"make an environment with Python {wanted} or newer",
    )
    try:
        required = importlib.metadata.requires(DISTRIBUTION) or []
        found = importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        yield Finding(
            check=DISTRIBUTION,
            status="warning",
            found="not installed; runs from this folder alone",
            remedy="`pip install -c constraints.txt -e .` in the checkout",
        )
        return
    yield Finding(check=DISTRIBUTION, status="ok", found=found)
    for text in required:
        yield from _requirement(text)


def _requirement(text: str) -> Iterator[Finding]:
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return
    if requirement.marker is not None and not requirement.marker.evaluate(
        {"extra": ""}
    ):
        return
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        version = ""
    fits = bool(version) and requirement.specifier.contains(version, prereleases=True)
    wanted = str(requirement.specifier)
    yield judged(
        requirement.name,
        version or "not installed",
        problem=None if fits else "error",
        remedy=f"`pip install '{requirement.name}{wanted}'`",
    )


def packages() -> Iterator[Finding]:
    """Whether Python finds our packages, and nothing else under their names."""
    providers = importlib.metadata.packages_distributions()
    checkout = _checkout()
    for name in PACKAGES:
        try:
            place = ours(name)
        except UserError as error:
            yield Finding(
                check=f"package {name}",
                status="error",
                found=error.message,
                remedy=error.hint or "",
            )
            continue
        others = sorted(set(providers.get(name, ())) - {DISTRIBUTION})
        here = Path.cwd() / name
        another = here != place and (
            (here / "__init__.py").is_file() or here.with_suffix(".py").is_file()
        )
        hidden = another and Path.cwd() != checkout
        if others:
            found = f"{place}, but also installed by {', '.join(others)}"
            remedy = f"`pip uninstall {' '.join(others)}`, which may overwrite ours"
        elif hidden:
            found = f"{place}, but hidden from scripts started here by {here}"
            remedy = f"rename {here}, or start scripts in another folder"
        elif another:
            found, remedy = f"{place}; scripts started here use its sources", ""
        else:
            found, remedy = str(place), ""
        problem = others or hidden
        yield judged(
            f"package {name}",
            found,
            problem="warning" if problem else None,
            remedy=remedy,
        )


def _checkout() -> Path | None:
    """The folder that pip installed this distribution from, if it was one (PEP 610)."""
    try:
        distribution = importlib.metadata.distribution(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return None
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    url = urlsplit(origin.get("url", ""))
    return Path(url2pathname(url.path)) if url.scheme == "file" else None


def extras() -> Iterator[Finding]:
    """Optional packages; what is missing is refused by name when it is asked for."""
    for what, (needed, command) in EXTRAS.items():
        missing = [name for name in needed if importlib.util.find_spec(name) is None]
        found = f"not there (optional: `{command}`)" if missing else "there"
        yield Finding(check=what, status="ok", found=found)


def git() -> Finding:
    """Whether runs can record the commit they were made with."""
    place = shutil.which("git")
    found = "not there"
    if place:
        try:
            answer = subprocess.run(
                [place, "--version"], capture_output=True, text=True, timeout=10
            )
            found = answer.stdout.strip() or f"{place} says nothing"
        except (OSError, subprocess.SubprocessError) as error:
            place, found = None, f"{place} does not run: {error}"
    return judged(
        "git",
        found,
        problem=None if place else "warning",
        remedy="install git: without it runs do not record the commit of the code",
    )


def datasets(root: Path | None) -> Finding:
    """Which real datasets lie in the data folder.

    Args:
        root: As `--data` says; None asks ``$HPO_DATA``.
    """
    given = root or os.environ.get("HPO_DATA")
    if not given:
        return Finding(
            check="datasets",
            status="ok",
            found="simulated ones; HPO_DATA is not set, which only real ones need",
        )
    folder = Path(given).expanduser()
    known = [
        name for name in known_datasets() if describe_dataset(name)["kind"] == "real"
    ]
    found = [name for name in known if (folder / name).is_dir()]
    listed = f"{len(found)} of {len(known)} real ones in {folder}"
    return judged(
        "datasets",
        listed + (f": {', '.join(found)}" if found else ""),
        problem=None if found else "warning",
        remedy="point HPO_DATA or `--data` at the folder that holds them; see "
        "`hpo list datasets`",
    )
