"""A start state quantised by a codebook that follows the data, and a network driven by u."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from optuna.distributions import FloatDistribution, IntDistribution

from models.config import Config as BaseConfig
from models.config import static, traced
from models.data.windows import Windows
from models.errors import ConfigError
from models.example import Example
from models.family import creator
from models.layers.initialization import initialize
from models.layers.linear import Linear
from models.layers.normalization import Standardize
from models.layers.stack import Recurrent
from models.losses import Loss, Term, squared_error
from models.sequences import (
    SequenceLoss,
    check_windows,
    require_scored_window,
    sequence_loss,
)
from models.training.optimizer import Optimizer
from models.training.problem import Problem
from search_spaces.space import Space

TASKS = ("prediction",)
CLOSED_FORM = False
CAUSAL = True

ROUNDS = 4  # of k-means


@dataclass(frozen=True, kw_only=True)
class QuantisedStart(BaseConfig):
    """Sizes of the network's states; tokens of a start, each one of `codes` vectors."""

    hidden_size: int = static(8, low=1)
    tokens: int = static(2, low=1)
    codes: int = static(8, low=2)
    code_size: int = static(2, low=1)
    decay: float = traced(0.9, low=0.0, high=1.0)


@dataclass(frozen=True, kw_only=True)
class Commitment(BaseConfig):
    """Weight of what draws the encoder to its codes."""

    weight: float = traced(0.25, low=0.0)


@dataclass(frozen=True, kw_only=True)
class Config(BaseConfig):
    """Configuration of the toy."""

    model: QuantisedStart = field(default_factory=QuantisedStart)
    commitment: Commitment = field(default_factory=Commitment)
    data: Windows = field(default_factory=lambda: Windows(window=32, batch_size=16))
    loss: SequenceLoss = field(default_factory=SequenceLoss)
    optimizer: Optimizer = field(default_factory=Optimizer)

    def validate(self):
        check_windows(data=self.data, loss=self.loss)
        if self.model.codes > self.data.batch_size * self.model.tokens:
            raise ConfigError(
                "codes start from the first batch, which has "
                f"{self.data.batch_size * self.model.tokens} tokens, got "
                f"`model.codes` {self.model.codes}",
                hint="lower `model.codes`, or raise `data.batch_size`",
            )


class Codebook(nnx.Variable):
    """Vectors and counts moved by exponential averages, never by a gradient."""


class Model(nnx.Module):
    """Reads the known part backwards, quantises the start state, runs forwards."""

    def __init__(self, *, config, data, key):
        self.normalize_u = Standardize.of(data.statistics, "u")
        self.normalize_y = Standardize.of(data.statistics, "y")
        inputs, outputs = self.normalize_u.channels, self.normalize_y.channels
        size, self.tokens = config.hidden_size, config.tokens
        width = config.tokens * config.code_size
        self.encoder = Recurrent(
            cell="plain", inputs=inputs + outputs + 1, hidden_size=size
        )
        self.latent = Linear(inputs=size, outputs=width)
        self.begin = Linear(inputs=width, outputs=size)
        self.rollout = Recurrent(cell="plain", inputs=inputs, hidden_size=size)
        self.head = Linear(inputs=size, outputs=outputs)
        self.sums = Codebook(jnp.zeros((config.codes, config.code_size)))
        self.counts = Codebook(jnp.ones((config.codes,)))
        initialize(self, key)

    def __call__(self, batch, *, decay, training):
        """Outputs, latents and codes ``[B, tokens, code]``, and tokens ``[B, tokens]``."""
        u, latents = self.encode(batch)
        codes, tokens = self.quantised(latents)
        if training:
            self.follow(latents, tokens, decay)
        through = latents + jax.lax.stop_gradient(codes - latents)
        flat = through.reshape(len(u), 1, -1)
        states, _ = self.rollout(u, jnp.tanh(self.begin(flat))[:, 0])
        y = self.normalize_y.inverse(self.head(states))
        return {"y": y, "latents": latents, "codes": codes, "tokens": tokens}

    def encode(self, batch):
        """Standardized inputs, and the latents ``[B, tokens, code]``."""
        u, y = self.normalize_u(batch["u"]), self.normalize_y(batch["y"])
        mask = batch["given.y"].astype(u.dtype)
        known = jnp.concatenate([u, y, jnp.ones_like(mask)], axis=-1) * mask
        start = self.encoder.initial_state(u.shape[0])
        _, state = self.encoder(known[:, ::-1], start)
        return u, self.latent(state[:, None]).reshape(len(u), self.tokens, -1)

    @property
    def codebook(self):
        """The codes ``[codes, code]``."""
        return self.sums[...] / self.counts[...][:, None]

    def quantised(self, latents):
        """The nearest codes, and their numbers."""
        codes = self.codebook
        apart = jnp.square(latents[:, :, None] - codes[None, None]).sum(axis=-1)
        tokens = jnp.argmin(apart, axis=-1).astype(jnp.int32)
        return codes[tokens], tokens

    def follow(self, latents, tokens, decay):
        """Move counts and sums towards those of a batch."""
        chosen, flat = self.assigned(latents, tokens)
        counts, sums = jnp.sum(chosen, axis=0), chosen.T @ flat
        self.counts.set_value(decay * self.counts[...] + (1 - decay) * counts)
        self.sums.set_value(decay * self.sums[...] + (1 - decay) * sums)

    def begin_codes(self, latents, key):
        """Codes by k-means, from as many different latents."""
        points = latents.reshape(-1, latents.shape[-1])
        self.sums.set_value(
            jax.random.choice(key, points, self.counts[...].shape, replace=False)
        )
        for _ in range(ROUNDS):
            _, tokens = self.quantised(latents)
            chosen, flat = self.assigned(latents, tokens)
            counts = jnp.sum(chosen, axis=0)[:, None]
            means = (chosen.T @ flat) / jnp.maximum(counts, 1.0)
            self.sums.set_value(jnp.where(counts > 0, means, self.codebook))

    def assigned(self, latents, tokens):
        """Which code every latent has, ``[N, codes]``, and the latents ``[N, code]``."""
        flat = jax.lax.stop_gradient(latents).reshape(-1, latents.shape[-1])
        codes = self.counts[...].shape[0]
        return jax.nn.one_hot(tokens.reshape(-1), codes, dtype=flat.dtype), flat


def commitment(outputs, batch, hyper):
    """Mean squared distance of the latents from their codes."""
    codes = jax.lax.stop_gradient(outputs["codes"])
    return jnp.mean(squared_error(outputs["latents"], codes))


def forward(model, batch, *, key, training, carry, hyper):
    return model(batch, decay=hyper["model.decay"], training=training), carry


def start(model, batch, *, key, hyper):
    """Let the codes begin where the first batch's latents lie."""
    model.begin_codes(model.encode(batch)[1], key)


def problem(config, data):
    """The thing to be learned."""
    task = data.task
    require_scored_window(data=config.data, loss=config.loss, known=task.known_outputs)
    error = sequence_loss(
        config=config.loss, std=data.statistics.std["y"], start=task.known_outputs
    )
    weighted = Term(function=commitment, weight="commitment.weight")
    return Problem(
        signature=(__name__, config.static_signature(), data.identity),
        build=lambda key: Model(config=config.model, data=data, key=key),
        forward=forward,
        loss=Loss(terms={**error.terms, "commitment": weighted}),
        metrics=task.metrics(data),
        hyper=config.traced(),
        optimizer=config.optimizer,
        given=partial(task.given, data=data),
        transforms=task.transforms(data),
        start=start,
        describe=lambda outputs, batch: {"tokens": outputs["tokens"]},
    )


create = creator(__name__)

SPACE = Space(
    {
        "model.hidden_size": IntDistribution(4, 8, step=4),
        "model.codes": IntDistribution(4, 8, step=4),
        "model.decay": FloatDistribution(0.5, 0.99),
        "commitment.weight": FloatDistribution(0.05, 1.0, log=True),
        "optimizer.learning_rate": FloatDistribution(1e-3, 1e-2, log=True),
        "data.window": 32,
        "data.batches": 2,
    }
)


def example(task):
    """A tiny problem."""
    return Example(
        task=task,
        config={
            "model.hidden_size": 4,
            "data.window": 24,
            "data.batch_size": 8,
            "data.batches": 2,
        },
    )
