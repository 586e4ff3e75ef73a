"""How arrays by role become a batch of prediction, and a model's outputs arrays again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np

from models.errors import UserError
from models.training.excerpts import Comparison
from models.training.protocol import Signals

Arrays: TypeAlias = Mapping[str, np.ndarray]
"""Arrays by role, in physical units."""
Run: TypeAlias = Callable[[dict[str, np.ndarray]], Mapping[str, Any]]
"""A model: a batch of prediction to its outputs."""


class Interface(Protocol):
    """The outside of a model: a task on the data it was trained on.

    Attributes:
        takes: Roles that a prediction needs.
        gives: Roles that it gives.
        single: Whether it gives one value of a whole sequence, not one of every sample.
    """

    @property
    def takes(self) -> tuple[str, ...]:
        """Roles that a prediction needs."""
        ...

    @property
    def gives(self) -> tuple[str, ...]:
        """Roles that it gives."""
        ...

    @property
    def single(self) -> bool:
        """Whether it gives one value of a whole sequence, not one of every sample."""
        ...

    def batch(self, arrays: Arrays) -> tuple[dict[str, np.ndarray], int]:
        """The batch of prediction for some arrays, and how many axes were added to them.

        One is that of the batch; the second that of the channels, where each array is a
        single signal ``[T]``.

        Raises:
            UserError: A role is missing or unknown, or an array has the wrong shape.
        """
        ...

    def piece(self, arrays: Arrays) -> tuple[dict[str, np.ndarray], int]:
        """As `batch`, for a piece of a sequence whose pieces are predicted one by one.

        Raises:
            UserError: The inputs are missing, a role is unknown, or an array has the wrong
                shape.
        """
        ...

    def arrays(
        self, outputs: Mapping[str, Any], batch: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Arrays ``[B, …]`` by role of what the model gave for a batch."""
        ...

    def example(self) -> dict[str, np.ndarray]:
        """The arrays by role that a prediction of the valid part's first record takes.

        Raises:
            DataError: The data is gone.
        """
        ...

    def signals(self, batch: Mapping[str, np.ndarray], row: int) -> tuple[Signals, ...]:
        """What every role of the data holds in a row of a batch, as far as it can be drawn."""
        ...

    def comparison(
        self, outputs: Mapping[str, Any], batch: Mapping[str, Any]
    ) -> Comparison | None:
        """Outputs beside the targets of a scored batch; None where they do not compare."""
        ...

    def appraise(self, run: Run) -> Mapping[str, float]:
        """What is told of the test part beside its metrics; often nothing.

        Args:
            run: The model, its best epoch's parameters.
        """
        ...


def predict(
    interface: Interface,
    given: Arrays | np.ndarray,
    run: Run,
    *,
    piece: bool = False,
) -> Any:
    """Predict with a model.

    Args:
        interface: How arrays become a batch, and back.
        given: Arrays by role, each with or without a leading batch axis, or without that of
            channels as well, where there is one; one array stands for the only role.
        run: The model: a batch to its outputs.
        piece: Whether this is one of the pieces of a sequence.

    Returns:
        Arrays by role, with the axes that the given ones have; one array where one was given
        and one role comes out.

    Raises:
        UserError: A role is missing or unknown, or an array has the wrong shape.
    """
    alone = not isinstance(given, Mapping)
    if alone and not piece and len(interface.takes) != 1:
        raise UserError(
            f"a prediction needs {_listed(interface.takes)}, got one array",
            hint=f"pass them by role: {{{', '.join(f'{r!r}: …' for r in interface.takes)}}}",
        )
    arrays: Any = {interface.takes[0]: given} if alone else given
    batched = interface.piece if piece else interface.batch
    batch, added = batched({r: np.asarray(values) for r, values in arrays.items()})
    found = interface.arrays(run(batch), batch)
    if added:
        found = {role: values[0] for role, values in found.items()}
    if added == 2:
        found = {r: v[..., 0] if v.shape[-1] == 1 else v for r, v in found.items()}
    return found[interface.gives[0]] if alone and len(found) == 1 else found


def _listed(roles: tuple[str, ...]) -> str:
    return " and ".join(f"`{role}`" for role in roles)
