"""Predictions piece by piece: a trained model that remembers where it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from models.errors import UserError
from models.training.closed_form import ClosedFormLearner
from models.training.interface import Arrays, Interface, predict
from models.training.learner import GradientLearner

_BEGIN: tuple[()] = ()


class StatefulRNN:
    """A trained model that is fed a sequence in pieces of any size.

    >>> model = StatefulRNN(learner)
    >>> model.predict_stateful({"u": u[:60], "y": y[:50]})  # the first piece
    >>> model.predict_stateful(u[60:])  # goes on from there
    >>> state = model.get_state()  # … and back again: model.set_state(state)

    Together the pieces are what `predict` gives for the whole sequence, up to rounding, where
    the outputs that are known follow one another. It serves every family that remembers
    something: recurrent layers their states, convolutions the samples they look back on.
    Pieces of one size are compiled once.

    Args:
        learner: A trained one, such as ``load_model("my_study").learner``.

    Raises:
        UserError: The learner was solved in closed form, or has no task to predict by.
    """

    def __init__(self, learner: GradientLearner | ClosedFormLearner) -> None:
        if isinstance(learner, ClosedFormLearner) or learner.interface is None:
            raise UserError(
                f"a {type(learner).__name__} holds no state that a prediction could go on "
                "from",
                hint="predict whole sequences",
            )
        self.learner = learner
        self._interface: Interface = learner.interface
        self._state: Any = _BEGIN
        self._rows = 0

    def get_state(self) -> Any:
        """Where the model is: empty before the first piece, opaque after it."""
        return (self._rows, self._state) if self._rows else _BEGIN

    def set_state(self, state: Any = _BEGIN) -> None:
        """Go on from a state that `get_state` gave; without one, begin anew.

        Raises:
            UserError: It is none that `get_state` gave.
        """
        if state != _BEGIN and not (isinstance(state, tuple) and len(state) == 2):
            raise UserError(
                f"a state is what `get_state` gave, got a {type(state).__name__}",
                hint="`set_state()` begins anew",
            )
        self._rows, self._state = state or (0, _BEGIN)

    def predict(self, given: Arrays | np.ndarray) -> Any:
        """Predict a whole sequence from its beginning; the state is left alone."""
        return self.learner.predict(given)

    def predict_stateful(self, given: Arrays | np.ndarray) -> Any:
        """Predict the next piece of a sequence, and remember where it ended.

        Args:
            given: Arrays in physical units by role, with or without a leading batch axis,
                every piece with the same one: the inputs of the piece, and the outputs that
                are known at its start, if any. One array stands for the inputs.

        Returns:
            As `predict`, for the samples of the piece.

        Raises:
            UserError: The family holds no state, a role is unknown, an array has the wrong
                shape, or the batch is another one than before.
        """

        def run(batch: dict[str, np.ndarray]) -> Mapping[str, Any]:
            rows = next(len(array) for array in batch.values())
            if self._state != _BEGIN and rows != self._rows:
                raise UserError(
                    f"the pieces before had a batch of {self._rows}, this one of {rows}",
                    hint="`set_state()` begins anew",
                )
            outputs, state = self.learner.outputs(batch, self._state)
            if state == _BEGIN or state is None:
                raise UserError(
                    "this family holds no state from one piece to the next",
                    hint="predict whole sequences",
                )
            self._rows, self._state = rows, state
            return outputs

        return predict(self._interface, given, run, piece=True)

    def predict_chunked(self, given: Arrays | np.ndarray, *, size: int) -> Any:
        """Predict a whole sequence from its beginning, a chunk at a time.

        What `predict` gives, up to rounding, in the memory of one chunk; the state is left
        alone. Of one value a sequence (task `estimation`) it is that after the last chunk.

        Args:
            given: As for `predict`; known outputs follow one another from the first sample on.
            size: Samples of a chunk.

        Raises:
            UserError: `size` is no whole number from 1 on, there are no samples, the family
                holds no state, or an array does not fit, as in `predict`.
        """
        if not isinstance(size, (int, np.integer)) or size < 1:
            raise UserError(
                f"a chunk is a whole number and at least 1 sample, got {size}"
            )
        # Checks everything that only a whole sequence shows, and computes nothing.
        alone = not isinstance(given, Mapping)
        first = self._interface.takes[0]
        arrays: Any = {first: given} if alone else given
        arrays = {role: np.asarray(values) for role, values in arrays.items()}
        _, added = self._interface.batch(arrays)
        model = StatefulRNN(self.learner)
        time = 0 if added else 1
        length = arrays[first].shape[time]
        if not length:
            raise UserError(f"`{first}` has no samples to predict from")
        found = [
            model.predict_stateful(piece[first] if alone else piece)
            for piece in _pieces(arrays, length=length, size=size, axis=time)
        ]
        if self._interface.single:
            return found[-1]
        if alone and not isinstance(found[0], Mapping):
            return np.concatenate(found, axis=time)
        return {r: np.concatenate([f[r] for f in found], axis=time) for r in found[0]}


def _pieces(
    arrays: Arrays, *, length: int, size: int, axis: int
) -> Iterator[dict[str, np.ndarray]]:
    """Every chunk of arrays that end at different samples; empty ones are left out."""
    for start in range(0, length, size):
        stop = slice(start, min(start + size, length))
        cut = {
            role: array[stop] if axis == 0 else array[:, stop]
            for role, array in arrays.items()
        }
        yield {role: array for role, array in cut.items() if array.shape[axis]}
