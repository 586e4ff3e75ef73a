"""``python -m models.data.simulators.inference NAME OPTIONS FOLDER``: write one dataset."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from models.data.options import SIMULATED, Draws
from models.data.simulators.inference.generate import generate
from models.errors import DataError


def main(name: str, options: str, folder: str) -> None:
    """Simulate into an existing folder.

    Args:
        name: The simulator.
        options: The fields of `Draws`, or of what it is made of, as JSON.
        folder: Where to write.
    """
    try:
        known = SIMULATED[name].options
        assert isinstance(known, Draws), "other simulators have a program of their own"
        generate(name, known.updated(json.loads(options)), Path(folder))
    except DataError as error:  # told by who asked for the data
        sys.exit(error.message)


if __name__ == "__main__":
    main(*sys.argv[1:])
