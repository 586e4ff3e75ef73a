"""``python -m tests.features``: every feature that docs/features.md names, and its tests.

Every table of the page with a column ``test`` is read. A row fails that names no test, a test
that does not exist, is skipped or fails, or a name that is neither importable nor a
configuration key of a family.
"""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "features.md"
_CODE = re.compile(r"`([^`]+)`")
_KEYED = ("rnn", "tcn", "crnn", "fransys", "pirnn")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One feature of the page.

    Attributes:
        feature: What it is called elsewhere.
        names: What it is called here.
        code: The files it is in.
        tests: ``file::function`` of each test.
    """

    feature: str
    names: tuple[str, ...]
    code: tuple[str, ...]
    tests: tuple[str, ...]


def rows(text: str) -> Iterator[Row]:
    """The rows of all tables with a column ``test``."""
    columns: list[str] | None = None
    for line in text.splitlines():
        if not line.startswith("|"):
            columns = None
            continue
        cells = [c.strip() for c in line.strip("|").split(" | ")]
        cells = [c.strip("| ") for c in cells]
        if columns is None:
            columns = [c.strip() for c in line.strip("|").split("|")]
        elif "test" in columns and set(line) - set("|- "):
            found = dict(zip(columns, cells, strict=False))
            yield Row(
                feature=found["feature"],
                names=tuple(_CODE.findall(found.get("our name", ""))),
                code=tuple(_CODE.findall(found.get("code", ""))),
                tests=tuple(_CODE.findall(found.get("test", ""))),
            )


def faults(row: Row) -> list[str]:
    """What is wrong with a row before any test runs."""
    found = [f"no file `{path}`" for path in row.code if not (ROOT / path).is_file()]
    if not row.tests:
        found.append("names no test")
    found += [f"no test `{test}`" for test in row.tests if not _exists(test)]
    if not row.names or not row.code:
        found.append("says neither name nor code")
    found += [f"no name `{name}`" for name in row.names if not _known(name)]
    return found


def _exists(test: str) -> bool:
    path, _, name = test.partition("::")
    file = ROOT / path
    if not file.is_file():
        return False
    tree = ast.parse(file.read_text())
    return any(isinstance(n, ast.FunctionDef) and n.name == name for n in tree.body)


def _known(name: str) -> bool:
    """Whether a name is importable, or a configuration key of a family."""
    if name.split(".")[0] not in ("models", "hpo"):
        configs = (importlib.import_module(f"models.{f}").Config for f in _KEYED)
        return any(name in set(config.keys()) for config in configs)
    parts = name.split(".")
    for size in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:size]))
        except ModuleNotFoundError:
            continue
        try:
            for part in parts[size:]:
                found = getattr(found, part)
        except AttributeError:
            return False
        return True
    return False


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """How tests came out, by ``file::function``.

    Attributes:
        passed: Those of which at least one case passed.
        others: Those of which one did not, with what it did.
    """

    passed: frozenset[str]
    others: Mapping[str, str]


def run(tests: Sequence[str]) -> Outcomes:
    """Run tests in a process of their own, slow ones too."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        given = ["-q", "-n0", "-p", "no:cacheprovider", "-m", "", "--timeout", "1500"]
        command = [sys.executable, "-m", "pytest", *given, f"--junitxml={report}"]
        subprocess.run([*command, *tests], cwd=ROOT, check=False)
        cases = list(ElementTree.parse(report).iter("testcase"))
    passed, others = set(), {}
    for case in cases:
        path = case.get("classname", "").replace(".", "/") + ".py"
        test = f"{path}::{case.get('name', '').partition('[')[0]}"
        said = [c.tag for c in case if c.tag in ("failure", "error", "skipped")]
        if said:
            others[test] = said[0]
        else:
            passed.add(test)
    return Outcomes(passed=frozenset(passed), others=others)


def main() -> int:
    """Check the page, run its tests, say which rows fail."""
    found = list(rows(PAGE.read_text()))
    wrong = {row: faults(row) for row in found}
    tests = sorted({t for row in found for t in row.tests if _exists(t)})
    outcomes = run(tests)
    failed = 0
    for row in found:
        said = wrong[row] + [
            f"`{test}` {outcomes.others.get(test, 'did not run')}"
            for test in row.tests
            if test in outcomes.others or test not in outcomes.passed
        ]
        failed += bool(said)
        for word in said:
            print(f"{row.feature}: {word}", file=sys.stderr)
    print(f"{len(found)} features, {len(tests)} tests, {failed} rows that fail")
    return int(failed > 0 or not found)


if __name__ == "__main__":
    sys.exit(main())
