"""The conformance suite of every learner: the protocol, and going on as if never stopped."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models.training.protocol import Epoch


def numbers(epoch: Epoch) -> dict[str, float]:
    """An epoch's results without its timings, by ``train.loss`` and the like."""
    return {f"train.{k}": v for k, v in epoch.train.items()} | {
        f"valid.{k}": v for k, v in epoch.valid.items()
    }


def same(first: Any, second: Any) -> bool:
    """Whether two lists of such results are equal to the last bit; NaN equals NaN.

    Args:
        first: Results of `numbers`, epoch by epoch.
        second: Likewise.
    """

    def equal(a: float, b: float) -> bool:
        return a == b or (math.isnan(a) and math.isnan(b))

    return len(first) == len(second) and all(
        a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
        for a, b in zip(first, second, strict=True)
    )


def check_epochs(create: Callable[[], Any], *, epochs: int) -> None:
    """Epochs count from 1, carry floats, and the generator can be closed and resumed.

    Args:
        create: Makes the same learner afresh.
        epochs: Its budget.
    """
    whole = list(create().fit_iter(epochs))
    assert [e.number for e in whole] == list(range(1, epochs + 1))
    for epoch in whole:
        assert "loss" in epoch.train, f"epoch {epoch.number} reports no loss"
        assert epoch.valid, f"epoch {epoch.number} reports no metric"
        assert all(type(v) is float for v in numbers(epoch).values())
        assert epoch.seconds >= 0
        assert epoch.compile_seconds >= 0
    learner = create()
    steps = learner.fit_iter(epochs)
    first = next(steps)
    steps.close()
    again = [first, *learner.fit_iter(epochs)]
    assert same([numbers(e) for e in again], [numbers(e) for e in whole]), (
        "closing the generator changed what followed"
    )


def check_checkpoint(
    create: Callable[[], Any],
    folder: Path,
    *,
    epochs: int,
    given: Mapping[str, np.ndarray],
) -> None:
    """Stop, save, restore, go on equals never having stopped, bit for bit.

    Args:
        create: Makes the same learner afresh.
        folder: Where the checkpoints go.
        epochs: Its budget.
        given: Arrays by role, for predictions.
    """
    undisturbed = create()
    whole = [numbers(e) for e in undisturbed.fit_iter(epochs)]
    stop = max(1, epochs // 2)
    stopped = create()
    before = [numbers(e) for e in stopped.fit_iter(stop)]
    stopped.save(folder / "half")
    files = [p.name for p in (folder / "half").iterdir()]
    assert files, "save wrote nothing"
    assert not any(n.endswith((".pkl", ".pickle", ".tmp")) for n in files), files
    going_on = create()
    going_on.restore(folder / "half")
    after = list(going_on.fit_iter(epochs))
    assert [e.number for e in after[:stop]] == list(range(1, stop + 1)), (
        "a restored learner yields the records of its checkpoint first"
    )
    assert same([numbers(e) for e in after[:stop]], before)
    assert same([numbers(e) for e in after], whole), "the restored learner went astray"
    first, second = undisturbed.predict(given), going_on.predict(given)
    assert all(np.array_equal(first[role], second[role]) for role in first)
    assert same([going_on.evaluate("valid")], [undisturbed.evaluate("valid")])
    for learner, name in ((undisturbed, "a"), (going_on, "b")):
        learner.save(folder / name)


def check_adoption(
    create: Callable[[Mapping[str, float]], Any],
    folder: Path,
    *,
    epochs: int,
    traced: Mapping[str, float],
) -> None:
    """Another learner's whole state is taken over, and the values that are set count.

    Args:
        create: Makes a learner whose traced values are those of the first epoch, but for the
            ones it is given. Its seed may be another one each time.
        folder: Where the checkpoints go.
        epochs: Its budget, 3 or more.
        traced: Values that make a difference to training.
    """
    donor = create({})
    before = [numbers(e) for e in donor.fit_iter(epochs - 2)]
    donor.save(folder / "donor")
    whole = [numbers(e) for e in donor.fit_iter(epochs)][-2:]
    same_values, other_values, again = create(traced), create({}), create({})
    same_values.adopt(folder / "donor", {})
    told = [numbers(e) for e in same_values.fit_iter(epochs)]
    assert same(told, [*before, *whole]), "without a change it is the donor, going on"
    other_values.adopt(folder / "donor", traced)
    changed = [numbers(e) for e in other_values.fit_iter(epochs)]
    assert same(changed[: epochs - 2], before), "the donor's records come first"
    assert not same(changed, told), "the values that were set changed nothing"
    other_values.save(folder / "other")
    again.adopt(folder / "other", {})
    assert same([numbers(e) for e in again.fit_iter(epochs)], changed)
    again.adopt(folder / "donor", traced)
    assert same([numbers(e) for e in again.fit_iter(epochs)], changed), (
        "what it had trained before made a difference"
    )
