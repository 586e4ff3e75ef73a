"""``python -m models.data.simulators NAME OPTIONS FOLDER``: write one simulated dataset."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from models.data.options import Options
from models.data.simulators.generate import generate


def main(name: str, options: str, folder: str) -> None:
    """Simulate into an existing folder; this process owns its JAX settings.

    Args:
        name: The system.
        options: The fields of `Options` as JSON.
        folder: Where to write.
    """
    os.environ["JAX_ENABLE_X64"] = "true"  # read when JAX is first imported
    generate(name, Options(**json.loads(options)), Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
