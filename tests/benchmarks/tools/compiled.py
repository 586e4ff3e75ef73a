"""Trains trials that differ in traced values only, and says how long compiling took."""

from __future__ import annotations

import json
import sys

from models import rnn
from models.data.catalog import prepare
from models.training.programs import PROGRAMS
from models.training.protocol import Context


def main() -> None:
    """Train trials on the data named first, ``shared`` or ``apart``, as many as said."""
    data, way, count = sys.argv[1:]
    reference = prepare({"path": data}).to_json()
    seconds = 0.0
    for number in range(int(count)):
        if way == "apart":
            PROGRAMS.clear()
        config = {
            "data.window": 200,
            "data.batch_size": 16,
            "data.batches": 5,
            "optimizer.learning_rate": 1e-3 * (number + 1),
            "optimizer.weight_decay": 1e-4 * number,
            "optimizer.decay_start": 0.1 * number,
            "model.dropout": 0.02 * number,
        }
        learner = rnn.create(config, Context(data=reference, seed=number, epochs=1))
        seconds += sum(epoch.compile_seconds for epoch in learner.fit_iter(1))
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
