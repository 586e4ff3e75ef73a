"""Who may import whom: every broken rule is named with its file and line."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("models", "search_spaces", "hpo", "studies")
FOUNDATION = ("models.errors", "models.config")
BLOCKS = tuple(
    f"models.{p}"
    for p in ("layers", "losses", "metrics", "transforms", "physics", "data")
)
HARNESS = ("models.errors", "models.training.protocol", "models.protocols")
HEAVY = ("jax", "flax", "optax", "ray", "torch")
# (who, may not import, except); the first dotted part decides for other people's packages
NEVER = [
    ("models", ("ray", "optuna", "hpo", "search_spaces", "studies"), ()),
    ("search_spaces", ("models", "hpo", "studies", "jax", "ray", "flax"), ()),
    ("hpo", ("models",), HARNESS),
    ("hpo", ("search_spaces",), ("search_spaces.space",)),
    ("hpo", ("studies",), ()),
    ("hpo.ledger", (*HEAVY, "optuna"), ()),
    *(
        (room, HEAVY, ())
        for room in (
            *("hpo.trials", "hpo.director", "hpo.report", "hpo.live"),
            *("hpo.statistics", "hpo.confirmation"),
        )
    ),
    ("hpo.statistics", ("hpo",), ("hpo.statistics",)),
    *((block, ("models",), (*FOUNDATION, *BLOCKS)) for block in BLOCKS),
    (
        "models.physics",
        ("models",),
        (*FOUNDATION, "models.layers", "models.physics"),
    ),
    ("models.training", ("models",), (*FOUNDATION, *BLOCKS, "models.training")),
    (
        "models.tasks",
        ("models",),
        (*FOUNDATION, *BLOCKS, "models.training", "models.tasks"),
    ),
]


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def modules():
    for package in OURS:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imported(path: Path):
    """(dotted name, line) of every import, inside functions and type checking too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((a.name, node.lineno) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno} relative import"
            yield from ((f"{node.module}.{a.name}", node.lineno) for a in node.names)


def test_layers():
    broken = []
    for name, path in modules():
        where = path.relative_to(ROOT)
        for target, line in imported(path):
            for who, banned, allowed in NEVER:
                hit = within(name, who) and any(within(target, b) for b in banned)
                if hit and not any(within(target, a) for a in allowed):
                    broken.append(f"{where}:{line}: {who} must not import {target}")
            if within(target, "ray") and not within(name, "hpo.run.ray"):
                broken.append(f"{where}:{line}: only hpo.run.ray may import {target}")
            if within(target, "hpo.cli") and not within(name, "hpo.cli"):
                broken.append(f"{where}:{line}: only hpo.cli may import {target}")
    assert not broken, "\n".join(broken)


def test_no_import_cycles():
    graph = {name: set() for name, _ in modules()}
    for name, path in modules():
        for target, _ in imported(path):
            while target and target not in graph:
                target = target.rpartition(".")[0]
            if target and target != name:
                graph[name].add(target)
    done, path = set(), []

    def visit(name):
        assert name not in path, "cycle: " + " → ".join(
            [*path[path.index(name) :], name]
        )
        if name not in done:
            path.append(name)
            for target in sorted(graph[name]):
                visit(target)
            done.add(path.pop())

    for name in graph:
        visit(name)


@pytest.mark.parametrize(
    "command",
    [
        "import hpo, models, search_spaces, studies",
        "import hpo.ledger.folder, hpo.report.summary",
        "import hpo.cli.main",
        "import hpo.tasks; from hpo import packages; "
        "[packages.task(n).to_json() for n in packages.task_names()]",
    ],
)
def test_loads_neither_jax_nor_ray(command):
    check = f"{command}; import sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    out = subprocess.run(
        [sys.executable, "-c", check],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.strip() == "[]"
