"""``python -m models.data.simulators.tables NAME OPTIONS FOLDER``: write one simulated table."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from models.data.files import new_file, sync_folder
from models.data.options import Steps
from models.data.simulators.tables.load import load

TABLES: dict[str, Callable[[Steps], str]] = {"simulated_load": load}


def main(name: str, options: str, folder: str) -> None:
    """Simulate into an existing folder, flushed to the disk.

    Args:
        name: The table.
        options: The fields of `Steps` as JSON.
        folder: Where to write ``NAME.csv``.
    """
    text = TABLES[name](Steps(**json.loads(options)))
    with new_file(Path(folder, f"{name}.csv"), suffixes=(".csv",)) as made:
        made.write_text(text, encoding="utf-8")
    sync_folder(Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
