"""Whether data, code and machine are still those of a run's launch, for re-runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo import packages
from hpo.errors import RunError
from hpo.run.own_files import changed as own_changes
from hpo.run.own_files import digests
from hpo.run.sources import Sources
from hpo.study import Study


def reload_data(sources: Sources, study: Study, root: Path | None) -> Any:
    """The run's data reference, made anew and held against the launch's.

    Args:
        sources: What the run was launched from.
        study: The study of the launch.
        root: Folder of real datasets; None means as at the launch.

    Raises:
        RunError: The data is not the data of the run, or a file of the person's own that the
            study names (an equation) is not that of the launch.
        UserError: The data is gone or damaged.
    """
    other = own_changes(sources.own_files, digests(sources.own_files))
    if other:
        raise RunError(
            f"{'; '.join(other)} since the launch",
            hint="restore the file of the run, or launch the study anew",
        )
    then = Path(sources.data_root) if sources.data_root else None
    now = packages.prepare_data(study.data, root=root or then)
    before, after = _hashes(sources.data), _hashes(now)
    changed = sorted(p for p, digest in before.items() if after.get(p) != digest)
    if changed:
        raise RunError(
            f"the data changed since the launch (part {', '.join(changed)})",
            hint="restore the data of the run, or launch the study anew",
        )
    return now


def _hashes(reference: Any) -> Mapping[str, str]:
    hashes = reference.get("hashes") if isinstance(reference, Mapping) else None
    return hashes if isinstance(hashes, Mapping) else {}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """Changes of code and machine between two provenances that can change numbers.

    Args:
        before: The launch's provenance.
        now: Today's.

    Returns:
        One short sentence a change.
    """
    out = []
    old, new = before.get("versions", {}), now.get("versions", {})
    for name in sorted({*old, *new} if old else ()):
        if old.get(name) != new.get(name):
            out.append(f"{name} was {old.get(name)}, is {new.get(name)}")
    for name in ("cpu", "instructions", "machine"):
        if name in before and before[name] != now.get(name):
            out.append(f"{name} was {before[name]}, is {now.get(name)}")
    then, today = ((p.get("git") or {}).get("commit") for p in (before, now))
    if then and today and then != today:
        out.append(f"commit was {then[:8]}, is {today[:8]}")
    return tuple(out)
