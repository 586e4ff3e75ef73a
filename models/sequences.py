"""The problem that sequence networks share: how they map u to y, and what they minimise."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Key

from models.augmentation import Augmentation
from models.config import Config
from models.data.window_feeds import INSIDE
from models.data.windows import Windows
from models.errors import ConfigError, UserError
from models.layers.simulator import BEGIN
from models.losses.combine import COUNTED
from models.scaling import Scaled
from models.sequence_loss import (
    FEATURES,
    Regularization,
    WindowLoss,
    regularized,
    sequence_loss,
    sequence_residuals,
)
from models.sequence_loss import SequenceLoss as SequenceLoss  # families find it here
from models.tasks.base import TaskData
from models.tasks.sequences import SequenceTask
from models.training.optimizer import Optimizer
from models.training.problem import Batch, Forward, Hyper, Outputs, Problem

WHOLE, WHOLE_SEEN = "whole.y", "whole.seen"
"""All outputs of a window and which were seen ``[B, T, 1]``; training and scoring alone."""


def check_windows(
    *,
    data: Windows,
    loss: WindowLoss,
    augmentation: Augmentation | None = None,
    streams: bool = False,
    model: Scaled | None = None,
) -> None:
    """Refuse windows that cannot be trained on; for a family's `Config.validate`.

    Args:
        data: How the train part is cut.
        loss: What is minimised.
        augmentation: Changes of training batches; None for a family that has none.
        streams: Whether the family carries a state from one window to the next.
        model: How its network reads and answers; None for what is not `Scaled`.

    Raises:
        ConfigError: The loss or an augmentation leaves nothing of a window, or windows
            follow one another though the family carries no state from one to the next.
    """
    if model is not None:
        model.require_room(data.window)
        if model.ahead and data.order == "consecutive":
            raise ConfigError(
                "layers at a lower rate look ahead, and carry no state from one window to "
                f"the next, got {model.ahead} with `data.order` consecutive",
                hint="shuffle the windows, or leave the rate as it is",
            )
    require_scored_window(data=data, loss=loss)
    if augmentation is not None:
        augmentation.check(data=data, loss=loss)
    if not streams:
        data.require_shuffled()


def require_scored_window(*, data: Windows, loss: WindowLoss, known: int = 0) -> None:
    """Refuse a loss that leaves nothing of a window.

    Args:
        data: How the train part is cut.
        loss: What is minimised.
        known: Outputs at the start of every window that are given, not scored.

    Raises:
        ConfigError: As many samples are given and skipped as a window has, or more.
    """
    if known + loss.n_skip + loss.n_cut < data.window:
        return
    behind = f" behind {known} known outputs" if known else ""
    also = f" with `loss.n_cut` {loss.n_cut}" if loss.n_cut else ""
    raise ConfigError(
        f"`loss.n_skip`{also} must be less than `data.window`{behind}, got {loss.n_skip} "
        f"and {data.window}",
        hint="skip fewer samples, or cut longer windows",
    )


def whole_outputs(key: Key[Array, ""], batch: Batch, step: Array) -> Batch:
    """Show the outputs of whole windows to the terms of a loss; for `Problem.targets`.

    A prediction has no such entries, and none may come to depend on them.

    Args:
        key: Not used.
        batch: With ``y`` and, where it has gaps, ``seen.y``.
        step: Not used.
    """
    del key, step
    y = batch["y"]
    seen = batch.get("seen.y")
    mask = jnp.ones_like(y, bool) if seen is None else seen
    return batch | {WHOLE: y, WHOLE_SEEN: jnp.all(mask, axis=-1, keepdims=True)}


def _require_fitting(
    task: SequenceTask, *, config: SequenceConfig, augmentation: Augmentation
) -> None:
    """Refuse a configuration that the task leaves without a meaning.

    Raises:
        ConfigError: Nothing of a window counts, less counts than there is to be said, or
            windows in a row begin with known outputs.
    """
    known = task.known_outputs
    require_scored_window(data=config.data, loss=config.loss, known=known)
    if task.SINGLE:
        _require_whole_windows(config, augmentation)
    if config.data.order == "consecutive" and known:
        raise ConfigError(
            "windows that follow one another (`data.order` is `consecutive`) begin with the "
            f"state of those before, not with {known} known outputs",
            hint="shuffle the windows, or train for the task `simulation`",
        )
    augmentation.check(data=config.data, loss=config.loss, known=known)


def _require_whole_windows(config: SequenceConfig, augmentation: Augmentation) -> None:
    """Refuse what counts only some samples of a window, where it has one value.

    Raises:
        ConfigError: A sample is skipped, cut or weighed, or windows follow one another.
    """
    loss, asked = config.loss, []
    asked += [f"loss.n_skip {loss.n_skip}"] if loss.n_skip else []
    asked += [f"loss.n_cut {loss.n_cut}"] if loss.n_cut else []
    asked += ["loss.last_weight"] if loss.on("last_weight") else []
    asked += ["data.order consecutive"] if config.data.order == "consecutive" else []
    for name in ("random_end", "shortest"):
        if getattr(augmentation, name):
            asked.append(f"augmentation.{name}")
    if asked:
        raise ConfigError(
            "a window has one value to be estimated, and all of it or nothing counts; got "
            + ", ".join(f"`{name}`" for name in asked),
            hint="set `loss.n_skip` to 0, and leave the others out",
        )


def counted_streams(
    key: Key[Array, ""], batch: Batch, step: Array, *, n_skip: int
) -> Batch:
    """Say which samples of windows in a row the loss counts; for `Problem.targets`.

    Those inside their record, but for the first ones of a stream that began from nothing.

    Args:
        key: Not used.
        batch: With ``reset`` ``[B]`` and, in training, `INSIDE`.
        step: Not used.
        n_skip: Samples that do not count behind a reset.
    """
    del key, step
    late = (jnp.arange(batch["y"].shape[1]) >= n_skip)[None] | ~batch["reset"][:, None]
    mask, name = late[..., None], COUNTED + "y"
    for other in (INSIDE, name):
        mask = mask & batch[other] if other in batch else mask
    return batch | {name: mask}


def _begun(model: Any, reset: Array, carry: Any) -> Any:
    """The state that every row goes on from: a fresh one where its stream begins."""

    def chosen(fresh: Array, before: Array) -> Array:
        rows = reset.reshape(-1, *(1,) * (fresh.ndim - 1))
        return jnp.where(jnp.broadcast_to(rows, fresh.shape), fresh, before)

    return jax.tree.map(chosen, model.initial_state(len(reset)), carry)


class SequenceConfig(Protocol):
    """The configuration of a family of sequence networks."""

    @property
    def model(self) -> Config:
        """The network's own configuration."""
        ...

    @property
    def data(self) -> Windows:
        """How the train part is cut."""
        ...

    @property
    def loss(self) -> WindowLoss:
        """The loss that is minimised."""
        ...

    @property
    def optimizer(self) -> Optimizer:
        """How."""
        ...

    def traced(self) -> dict[str, float]:
        """The traced values by dotted key."""
        ...

    def static_signature(self) -> tuple[tuple[str, Any], ...]:
        """Equal for configurations that share a compilation."""
        ...


@runtime_checkable
class Streams(Protocol):
    """A model that goes on from a state; see `models.stateful`."""

    def stream(
        self, given: Batch, state: Any, **training: Key[Array, ""]
    ) -> tuple[Outputs, Any]:
        """A piece of a sequence, and the state after it; with a `key` in training."""
        ...


class ModelBuilder(Protocol):
    """``builder(config=…, data=…, key=…)`` gives the model ``(batch, key=) -> y``."""

    def __call__(
        self, *, config: Any, data: TaskData, key: Key[Array, ""]
    ) -> nnx.Module:
        """Build; pure, run inside compiled code."""
        ...


def _forward(task: SequenceTask, *, penalised: bool, in_a_row: bool) -> Forward:
    """How a model is run on a batch.

    Args:
        task: Says what counts of its outputs.
        penalised: Whether a loss reads its features.
        in_a_row: Whether it is trained on windows that follow one another.
    """

    def forward(
        model: Any,
        batch: Batch,
        *,
        key: Key[Array, ""],
        training: bool,
        carry: Any,
        hyper: Hyper,
    ) -> tuple[Outputs, Any]:
        del hyper
        if carry is None:
            own = key if training else None
            if penalised:
                y, features = model.with_features(batch, key=own)
                return {"y": task.read_out(y), FEATURES: features}, None
            return {"y": task.read_out(model(batch, key=own))}, None
        if not isinstance(model, Streams):
            raise UserError(
                "this family holds no state from one piece to the next",
                hint="predict whole sequences",
            )
        state = carry
        if in_a_row and carry != BEGIN:
            state = _begun(model, batch["reset"], carry)
        more = {"key": key} if training else {}
        outputs, state = model.stream(batch, state, **more)
        kept = {"y": task.read_out(outputs["y"])}
        # What only a penalty reads would be copied from the device with every prediction.
        return (kept | {FEATURES: outputs[FEATURES]} if penalised else kept), state

    return forward


def sequence_problem(
    builder: ModelBuilder,
    *,
    config: SequenceConfig,
    data: TaskData,
    micro_batch: int | None = None,
    regularization: Regularization | None = None,
    augmentation: Augmentation | None = None,
) -> Problem:
    """The problem of a family that maps u, and known outputs where there are any, to y.

    Args:
        builder: Makes the model, which takes and gives physical units.
        config: The family's configuration.
        data: What is known of data and task.
        micro_batch: See `Problem`.
        regularization: Penalties of the features of a `Simulator`; None for a family that
            has none.
        augmentation: Changes of training batches; None for a family that has none.

    Raises:
        ConfigError: The loss leaves nothing of a window behind the known outputs, an
            augmentation does not fit the data, or windows in a row begin with known outputs.
    """
    task = data.task
    assert isinstance(task, SequenceTask), "families are only asked for their TASKS"
    augmentation = Augmentation() if augmentation is None else augmentation
    _require_fitting(task, config=config, augmentation=augmentation)
    in_a_row = config.data.order == "consecutive"
    lengths, schedules = augmentation.growth(config.data)
    std, start = data.statistics.std["y"], task.known_outputs
    skipped = replace(config.loss, n_skip=0) if in_a_row else config.loss
    loss = sequence_loss(config=skipped, std=std, start=start)
    plain = config.loss.mean_square and not in_a_row and not task.SINGLE
    if regularization is not None and regularization.kinds:
        loss, plain = regularized(loss, regularization), False

    def build(key: Key[Array, ""]) -> nnx.Module:
        return builder(config=config.model, data=data, key=key)

    def initial_carry(size: int) -> Any:
        made = jax.eval_shape(lambda k: build(k).initial_state(size), jax.random.key(0))
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), made)

    return Problem(
        signature=("sequence", config.static_signature(), data.identity, micro_batch),
        build=build,
        forward=_forward(task, penalised=len(loss.terms) > 1, in_a_row=in_a_row),
        loss=loss,
        metrics=task.metrics(data),
        given=partial(task.given, data=data),
        transforms=task.transforms(data),
        augmentations=augmentation.functions(data),
        targets=(partial(counted_streams, n_skip=config.loss.n_skip),)
        if in_a_row
        else (),
        initial_carry=initial_carry if in_a_row else None,
        lengths=lengths,
        schedules=schedules,
        hyper=config.traced(),
        optimizer=config.optimizer,
        residuals=(
            sequence_residuals(config=config.loss, std=std, start=start)
            if plain
            else None
        ),
        micro_batch=micro_batch,
    )
