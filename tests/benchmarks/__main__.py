"""``python -m tests.benchmarks WHICH [OPTIONS]``: the project's speed claims, measured.

Every module beside this one is a benchmark, called by its file's name.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys

import tests.benchmarks


def names() -> list[str]:
    """Every benchmark's name."""
    found = pkgutil.iter_modules(tests.benchmarks.__path__)
    return sorted(m.name for m in found if not m.ispkg and m.name != "__main__")


def main() -> None:
    """Run the benchmark that was asked for with the rest of the command line."""
    which = sys.argv[1] if len(sys.argv) > 1 else ""
    if which not in names():
        for name in names():
            about = importlib.import_module(f"tests.benchmarks.{name}").__doc__ or ""
            print(f"{name:12} {about.partition(chr(10))[0]}")
        raise SystemExit(0 if which in ("", "-h", "--help") else 2)
    sys.argv = [f"python -m tests.benchmarks {which}", *sys.argv[2:]]
    importlib.import_module(f"tests.benchmarks.{which}").main()


if __name__ == "__main__":
    main()
