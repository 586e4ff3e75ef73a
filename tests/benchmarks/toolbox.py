"""The price of every loss, batch function and rule of the sequence toolbox beside a GRU's step.

A training step of the family `rnn` (GRU 32×1, windows of 250 samples, 64 a batch) with one thing
switched on, against the same step without it: both in turn, in processor time of one thread, so
that other work of the machine falls on both. The figure is the median over rounds of their
ratio; the bar is 5 %. What a second step without anything costs says how much is noise.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.tools import machine, output

BAR = 5.0
_WINDOW, _ROWS, _STEPS, _EPOCH = 250, 64, 4, 150
SHAPES = {"1 to 1": (1, 1), "9 to 4": (9, 4)}
"""Inputs and outputs: a plain record, and sensors of a body beside its orientation."""

CONFIGURED: dict[str, dict[str, Any]] = {
    "nothing (noise of the measurement)": {},
    "loss.kind mse": {"loss.kind": "mse"},
    "loss.kind huber": {"loss.kind": "huber"},
    "loss.n_cut": {"loss.n_cut": 20},
    "loss.last_weight": {"loss.last_weight": 0.1},
    "regularization.activation": {"regularization.activation": 0.1},
    "regularization.temporal_activation": {"regularization.temporal_activation": 0.1},
    "augmentation.noise": {"augmentation.noise": 0.1},
    "augmentation.varying_noise": {"augmentation.varying_noise": 0.1},
    "augmentation.bias": {"augmentation.bias": 0.1},
    "… with a probability": {"augmentation.bias": 0.1, "augmentation.probability": 0.5},
    "augmentation.random_end": {"augmentation.random_end": 100},
    "augmentation.shortest, windows grown": {
        "augmentation.shortest": 100,
        "augmentation.grow_from": 0.0,
        "augmentation.grow_until": 0.0,
    },
    "optimizer.skip_norm": {"optimizer.skip_norm": 1e6},
    "optimizer.frozen": {"optimizer.frozen": ["head.bias"]},
}

Step = Callable[[], Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, keep the figures."""
    parser = argparse.ArgumentParser(prog="toolbox", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="", help="a pattern of the names to measure")
    parser.add_argument("--out", type=Path, default=output.MEASURED)
    options = parser.parse_args(arguments)
    os.environ.update(machine.ONE_THREAD | {"JAX_PLATFORMS": "cpu"})
    before = machine.spin()
    rows = {
        name: paired(*pair(), rounds=options.rounds)
        for name, pair in pairs().items()
        if re.search(options.only, name)
    }
    if re.search(options.only, "data.balance data.replacement"):
        rows |= orders(options.rounds)
    after = machine.spin()
    content = {
        "rows": rows,
        "about": machine.describe(),
        "spin": [before.to_json(), after.to_json()],
        "valid": before.valid and after.valid,
    }
    output.write("toolbox", content, options.out)
    _show(rows, valid=bool(content["valid"]))


def paired(base: Step, other: Step, *, rounds: int) -> dict[str, float]:
    """How much more processor time one of two steps takes, in percent; both in turn.

    Args:
        base: Without what is measured.
        other: With it.
        rounds: Of `_STEPS` steps of each.
    """
    for step in (base, other):
        step()
    ratios, plain = [], []
    for number in range(rounds):
        order = (base, other) if number % 2 else (other, base)
        spent = {step: _spent(step) for step in order}
        ratios.append(100 * (spent[other] / spent[base] - 1))
        plain.append(1000 * spent[base])
    return _row(ratios, plain)


def _spent(step: Step) -> float:
    begin = time.process_time()
    for _ in range(_STEPS):
        step()
    return (time.process_time() - begin) / _STEPS


def pairs() -> dict[str, Callable[[], tuple[Step, Step]]]:
    """By name: what makes a step without and one with it."""
    found: dict[str, Callable[[], tuple[Step, Step]]] = {}
    for name, flat in CONFIGURED.items():
        found[name] = lambda flat=flat: (_step("1 to 1"), _step("1 to 1", flat=flat))
    for name, (shape, loss) in _losses().items():
        found[name] = lambda s=shape, a=loss: (_step(s), _step(s, loss=a))
    for name, (shape, transform) in _transforms().items():
        found[name] = lambda s=shape, t=transform: (_step(s), _step(s, transform=t))
    found["gaps (a mask beside y)"] = lambda: (
        _step("1 to 1"),
        _step("1 to 1", gaps=True),
    )
    found["a spectrogram of u, window 32, hop 16"] = _spectrogram
    return found


def _losses() -> dict[str, tuple[str, Any]]:
    """Criteria in place of the family's own loss."""
    from models import losses
    from models.losses import quaternion

    plain = losses.mae
    return {
        "criterion nrmse": ("1 to 1", losses.nrmse),
        "criterion unaccounted": ("1 to 1", losses.unaccounted),
        "criterion cosine": ("1 to 1", losses.cosine()),
        "ignore_nan": ("1 to 1", losses.ignore_nan(plain)),
        "masked_loss": ("9 to 4", losses.masked_loss(plain, channels=2)),
        "quaternion mean_inclination": ("9 to 4", quaternion.mean_inclination),
        "quaternion rms_angle": ("9 to 4", quaternion.rms_angle),
        "quaternion smooth_angle_loss": ("9 to 4", quaternion.smooth_angle_loss),
    }


def _transforms() -> dict[str, tuple[str, Any]]:
    """Batch functions that no configuration of the family switches on."""
    from models.transforms import quaternion_augmentation, truncate_schedule

    axes = [(0, 1, 2), (3, 4, 5), (6, 7, 8)]
    turn = quaternion_augmentation({"u": axes, "y": [(0, 1, 2, 3)]})
    cut = truncate_schedule(shortest=100, cut="cut")
    return {
        "truncate_schedule": ("1 to 1", cut),
        "quaternion_augmentation": ("9 to 4", turn),
    }


def _step(
    shape: str,
    *,
    flat: Mapping[str, Any] | None = None,
    loss: Any = None,
    transform: Any = None,
    gaps: bool = False,
) -> Step:
    """A compiled training step on a fixed batch."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from models import rnn
    from models.losses import Loss, term_of
    from models.training.gradients import GradientEngine
    from models.training.state import HORIZON, initialize

    inputs, outputs = SHAPES[shape]
    asked = {
        "model.layers": 1,
        "model.hidden_size": 32,
        "data.window": _WINDOW,
        "data.batch_size": _ROWS,
        "loss.n_skip": 50,
        **(flat or {}),
    }
    problem = rnn.problem(rnn.Config.from_flat(asked), _data(inputs, outputs))
    if loss is not None:
        own = Loss(terms={"own": term_of(loss)})
        problem = dataclasses.replace(problem, loss=own)
    if transform is not None:
        cut = {"cut": 0.5, **problem.hyper}
        problem = dataclasses.replace(problem, augmentations=(transform,), hyper=cut)
    hyper = {k: jnp.asarray(v, jnp.float32) for k, v in problem.values().items()}
    hyper[HORIZON] = jnp.asarray(1000.0, jnp.float32)
    graph, state, _ = initialize(
        problem, batch_size=_ROWS, seed=jnp.uint32(0), hyper=hyper
    )
    engine = GradientEngine(
        problem=problem, graph=graph, feed=None, objective="rmse", direction="minimize"
    )
    random = np.random.default_rng(0)
    batch = {
        role: jnp.asarray(random.normal(size=(_ROWS, _WINDOW, n)), jnp.float32)
        for role, n in (("u", inputs), ("y", outputs))
    }
    if gaps:
        batch["seen.y"] = jnp.asarray(random.uniform(size=batch["y"].shape) < 0.8)
    compiled = jax.jit(engine.step).lower(state, batch).compile()
    return lambda: jax.block_until_ready(compiled(state, batch))


def _data(inputs: int, outputs: int) -> Any:
    import numpy as np

    from models.data.statistics import Statistics
    from tests.test_models.task_data import sequences

    sizes = {"u": inputs, "y": outputs}
    return sequences(
        Statistics(
            mean={role: np.zeros(n) for role, n in sizes.items()},
            std={role: np.ones(n) for role, n in sizes.items()},
            count=1000,
        )
    )


def _spectrogram() -> tuple[Step, Step]:
    """A step, and a step behind a spectrogram of its inputs."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from models.layers.spectrogram import Spectrogram

    layer = jax.jit(Spectrogram(window=32, hop=16))
    u = np.random.default_rng(0).normal(size=(_ROWS, _WINDOW, 1))
    signal = jnp.asarray(u, jnp.float32)
    base = _step("1 to 1")

    def both() -> None:
        base()
        jax.block_until_ready(layer(signal))

    return base, both


def orders(rounds: int) -> dict[str, dict[str, float]]:
    """What drawing an epoch's order takes beyond a shuffle, by the step of `_EPOCH` of them.

    Args:
        rounds: Of `_STEPS` orders and steps of each.
    """
    import jax

    from models.data.plan import Plan, weighted_source

    plain = Plan(
        records=(0, 1),
        first=(0, 30_000),
        windows=80_000,
        window=_WINDOW,
        stride=1,
        batch_size=_ROWS,
        batches=_EPOCH,
        consecutive=False,
    )
    step, key = _step("1 to 1"), jax.random.key(0)

    def drawing(plan: Plan) -> Step:
        compiled = jax.jit(plan.order).lower(key).compile()
        return lambda: jax.block_until_ready(compiled(key))

    plans = {
        "data.balance": weighted_source(plain, [1.0, 2.0], replacement=False),
        "data.replacement": dataclasses.replace(plain, replacement=True),
    }
    shuffle, found = drawing(plain), {}
    for name, plan in plans.items():
        other = drawing(plan)
        for draw in (shuffle, other, step):
            draw()
        ratios, taken = [], []
        for _ in range(rounds):
            base = _spent(step)
            more = _spent(other) - _spent(shuffle)
            ratios.append(100 * more / (_EPOCH * base))
            taken.append(1000 * base)
        found[f"{name}, 80,000 windows, {_EPOCH} steps"] = _row(ratios, taken)
    return found


def _row(percent: Sequence[float], milliseconds: Sequence[float]) -> dict[str, float]:
    low, middle, high = statistics.quantiles(percent, n=4)
    base = statistics.median(milliseconds)
    return {"percent": middle, "low": low, "high": high, "base_ms": base}


def _show(rows: Mapping[str, Mapping[str, float]], *, valid: bool) -> None:
    table = [
        [
            name,
            f"{row['percent']:+.1f} %",
            f"{row['low']:+.1f} to {row['high']:+.1f}",
            f"{row['base_ms']:.1f}",
            "" if row["percent"] < BAR else "above the bar",
        ]
        for name, row in rows.items()
    ]
    heads = ["beside a GRU 32×1 step", "dearer by", "quartiles", "step, ms", ""]
    output.show("Toolbox", heads, table)
    if not valid:
        print("the spin test failed: others were at work", file=sys.stderr)


if __name__ == "__main__":
    main()
