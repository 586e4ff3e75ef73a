"""``python -m studies.curves``: record the sets of curves, and pack them."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from studies.curves import packing, recording
from studies.curves.sets import SETS


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="python -m studies.curves")
    commands = parser.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record", help="train the sets")
    pack = commands.add_parser("pack", help="write the curves into one file")
    for command in (record, pack):
        command.add_argument("--results", type=Path, required=True)
    record.add_argument("--sets", help="some of them, separated by commas")
    pack.add_argument("--earlier", type=Path, help="a file of curves that are kept")
    pack.add_argument("file", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "pack":
        packing.pack(arguments.results, arguments.file, earlier=arguments.earlier)
        return
    wanted = arguments.sets.split(",") if arguments.sets else [s.name for s in SETS]
    root = os.environ.get("HPO_DATA")
    recording.record(
        (s for s in SETS if s.name in wanted),
        results=arguments.results,
        data_root=Path(root) if root else None,
    )


if __name__ == "__main__":
    main()
