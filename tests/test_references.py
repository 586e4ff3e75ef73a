"""What docstrings and pages name of this project is there: modules, their members, files."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("models", "hpo", "search_spaces", "studies")
NAME = re.compile(r"`((?:models|hpo|search_spaces|studies)(?:\.\w+)+)`")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
PAGE = re.compile(r"`((?:docs|studies|tests)/[\w./]+\.(?:py|md|html))`")
MADE_ON_THE_PAGE = {"studies/x.py", "tests/test_models/test_x.py", "studies/NAME.py"}


def texts():
    for package in PACKAGES:
        yield from (ROOT / package).rglob("*.py")
    yield from (ROOT / name for name in ("README.md", "CONTRIBUTING.md"))
    yield from (ROOT / "docs").glob("*.md")


@functools.cache
def members(path):
    """Names that a module has by its text: what it defines, assigns and imports."""
    return own(ast.parse(path.read_text()).body)


def own(body):
    found = {}
    for node in body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = own(node.body)
            for part in ast.walk(node):  # attributes that methods set
                if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store):
                    found[node.name][part.attr] = {}
            if node.bases:
                found[node.name][...] = {}  # may have inherited it
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = {}
            if node.name == "__getattr__":  # gives names that are loaded when asked for
                found[...] = {}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = ((a.asname or a.name).partition(".")[0] for a in node.names)
            found |= {name: {...: {}} for name in names}  # of another file
        elif isinstance(node, ast.If):
            found |= own([*node.body, *node.orelse])
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            every = (n for t in targets for n in ast.walk(t))
            found |= {n.id: {} for n in every if isinstance(n, ast.Name)}
    return found


def is_there(dotted):
    """Whether a module, or a member of one, has this name."""
    path, parts = ROOT, dotted.split(".")
    while parts and (path / parts[0]).is_dir():
        path, parts = path / parts[0], parts[1:]
    if parts and (path / f"{parts[0]}.py").is_file():
        path, parts = path / f"{parts[0]}.py", parts[1:]
    elif parts:
        path = path / "__init__.py"
    known = members(path) if parts else {}
    for part in parts:
        if part not in known:
            return ... in known  # it may have members that its text does not show
        known = known[part]
    return True


def test_names_in_backticks_are_there():
    lost = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in texts()
        for name in NAME.findall(path.read_text())
        if not is_there(name)
    }
    assert not lost, "\n".join(sorted(lost))
    assert is_there("models.config.Config.from_flat")
    assert not is_there("models.data.feeding.RESIDENT_BYTES")


def test_pages_studies_and_links_are_there():
    lost = set()
    for path in texts():
        text = path.read_text()
        found = [n for n in PAGE.findall(text) if n not in MADE_ON_THE_PAGE]
        lost |= {f"{path.name}: {n}" for n in found if not (ROOT / n).exists()}
        if path.suffix == ".md":
            links = [n for n in LINK.findall(text) if not n.startswith("http")]
            lost |= {
                f"{path.name}: {n}" for n in links if not (path.parent / n).exists()
            }
    assert not lost, "\n".join(sorted(lost))
