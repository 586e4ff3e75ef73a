"""Tiny feeds and models for the engine's tests: nothing of the real rooms is needed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from models.errors import UserError
from models.layers.traced import Traced
from models.losses import Loss, Term, squared_error
from models.metrics import Average, SequenceMetric, sequence_metrics
from models.training.learner import GradientLearner
from models.training.optimizer import Optimizer
from models.training.problem import Problem, Schedule


class ToyFeed:
    """Windows that are resident or streamed; shuffled, or consecutive with resets."""

    def __init__(self, arrays, *, batch_size, streaming=False, consecutive=0):
        dtype = jnp.result_type(float)
        self.data = {k: np.asarray(v, dtype) for k, v in arrays.items()}
        self.count = len(next(iter(self.data.values())))
        self.batch_size = batch_size
        self.batches = self.count // batch_size
        self.streaming = streaming
        self.consecutive = consecutive  # windows per stream; 0: shuffled
        self.arrays = None if streaming else jax.device_put(self.data)

    def signature(self):
        shapes = tuple((k, v.shape) for k, v in self.data.items())
        return (shapes, self.batch_size, self.streaming, self.consecutive)

    def order(self, key):
        used = self.batches * self.batch_size
        if self.consecutive:  # stream b walks through windows b*n, b*n+1, …
            grid = np.arange(used, dtype=np.int32).reshape(
                self.batch_size, self.batches
            )
            return jnp.asarray(grid.T)
        indices = jax.random.permutation(key, self.count)[:used].astype(jnp.int32)
        return indices.reshape(self.batches, self.batch_size)

    def batch(self, arrays, indices):
        out = {k: v[indices] for k, v in arrays.items()}
        if self.consecutive:
            out["reset"] = indices % self.consecutive == 0
        return out

    def chunks(self, order):
        for start in range(0, len(order), 3):
            part = order[start : start + 3]
            out = {k: v[part] for k, v in self.data.items()}
            if self.consecutive:
                out["reset"] = part % self.consecutive == 0
            yield out


def sequences(seed=0, *, count=24, length=20, noise=0.1):
    """A second-order linear system driven by noise: u and y, ``[N, T, 1]``."""
    random = np.random.default_rng(seed)
    u = random.normal(size=(count, length, 1))
    y = np.zeros_like(u)
    for t in range(2, length):
        y[:, t] = 1.2 * y[:, t - 1] - 0.5 * y[:, t - 2] + 0.3 * u[:, t - 1]
    return {"u": u, "y": y + noise * random.normal(size=u.shape)}


class Recurrent(nnx.Module):
    """An Elman network with a traced dropout rate on its state."""

    def __init__(self, key, *, size=4):
        first, second, third = jax.random.split(key, 3)
        self.inward = nnx.Param(0.5 * jax.random.normal(first, (1, size)))
        self.around = nnx.Param(0.3 * jax.random.normal(second, (size, size)))
        self.outward = nnx.Param(0.5 * jax.random.normal(third, (size, 1)))
        self.rate = Traced(0.0, name="model.dropout")

    def __call__(self, u, *, key=None, state=None):
        size = self.around[...].shape[0]
        if state is None:
            state = jnp.zeros((u.shape[0], size), u.dtype)
        if key is not None:
            kept = jax.random.uniform(key, (u.shape[0], 1, 1)) >= self.rate[...]
            u = jnp.where(kept, u, 0.0)

        def step(h, x):
            h = jnp.tanh(x @ self.inward[...] + h @ self.around[...])
            return h, h

        last, hidden = jax.lax.scan(step, state, jnp.moveaxis(u, 1, 0))
        return jnp.moveaxis(hidden, 0, 1) @ self.outward[...], last


def mse(outputs, batch, hyper):
    return jnp.mean(squared_error(outputs["y"], batch["y"]))


def recurrent_problem(*, micro_batch=None, signature=(), **values):
    def forward(model, batch, *, key, training, carry, hyper):
        return {"y": model(batch["u"], key=key if training else None)[0]}, carry

    settings = {k: v for k, v in values.items() if not k.startswith("model.")}
    return Problem(
        signature=("recurrent", micro_batch, settings.get("schedule"), signature),
        build=lambda key: Recurrent(key),
        forward=forward,
        loss=Loss(terms={"mse": Term(function=mse)}),
        metrics=sequence_metrics(),
        hyper={"model.dropout": values.pop("model.dropout", 0.0)},
        optimizer=Optimizer(**{"learning_rate": 1e-2, **settings}),
        micro_batch=micro_batch,
    )


class FromInputs:
    """The outside of a toy: u in, y out."""

    takes, gives = ("u",), ("y",)

    def batch(self, arrays):
        u = arrays["u"]
        if u.ndim not in (2, 3):
            raise UserError(f"`u` must be [time, 1] or [batch, time, 1], got {u.shape}")
        return {"u": u if u.ndim == 3 else u[None]}, u.ndim == 2

    def arrays(self, outputs, batch):
        return {"y": outputs["y"]}

    def appraise(self, run):
        return {}


def learner_of(problem, *, seed=0, epochs=4, feed=None, valid=None, **options):
    return GradientLearner(
        problem=problem,
        feed=feed or ToyFeed(sequences(0), batch_size=6),
        valid=valid or (sequences(1, count=3, length=50), sequences(2, count=1)),
        seed=seed,
        epochs=epochs,
        **{"interface": FromInputs(), **options},
    )


def numbers(epochs):
    """The numbers that must be equal between two runs: everything but the seconds."""
    return [(e.number, dict(e.train), dict(e.valid)) for e in epochs]


def leaves(tree):
    tree = jax.tree.map(
        lambda a: (
            jax.random.key_data(a)
            if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key)
            else a
        ),
        tree,
    )
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def assert_bitwise(first, second):
    for a, b in zip(leaves(first), leaves(second), strict=True):
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()


# (a) Non-gradient state that changes in the forward pass.


class Codebook(nnx.Variable):
    """Vectors moved by an exponential average, never by a gradient."""


class Quantizer(nnx.Module):
    """Encoder, EMA codebook with a straight-through estimate, decoder; batch statistics."""

    def __init__(self, key, *, codes=8, size=3):
        first, second, third = jax.random.split(key, 3)
        self.encode = nnx.Param(jax.random.normal(first, (1, size)))
        self.decode = nnx.Param(0.3 * jax.random.normal(second, (size, 1)))
        self.codes = Codebook(jax.random.normal(third, (codes, size)))
        self.counts = Codebook(jnp.ones((codes,)))
        self.mean = nnx.BatchStat(jnp.zeros((1,)))

    def __call__(self, x, *, train):
        mean = jnp.mean(x, axis=(0, 1)) if train else self.mean[...]
        z = (x - mean[None, None]) @ self.encode[...]
        flat = z.reshape(-1, z.shape[-1])
        codes = self.codes[...]
        distance = jnp.sum(jnp.square(flat[:, None] - codes[None]), axis=-1)
        chosen = jax.nn.one_hot(jnp.argmin(distance, axis=-1), codes.shape[0])
        if train:
            hits = jnp.sum(chosen, axis=0)
            sums = chosen.T @ jax.lax.stop_gradient(flat)
            centers = jnp.where(
                hits[:, None] > 0, sums / jnp.maximum(hits, 1.0)[:, None], codes
            )
            self.codes.set_value(0.9 * codes + 0.1 * centers)
            self.counts.set_value(0.9 * self.counts[...] + 0.1 * hits)
            self.mean.set_value(0.9 * self.mean[...] + 0.1 * mean)
        quantized = (chosen @ codes).reshape(z.shape)
        through = z + jax.lax.stop_gradient(quantized - z)
        return through @ self.decode[...], z, quantized


def quantizer_problem(learning_rate=1e-2, commitment=0.25):
    def forward(model, batch, *, key, training, carry, hyper):
        y, z, quantized = model(batch["y"], train=training)
        return {"y": y, "z": z, "quantized": quantized}, carry

    def commit(outputs, batch, hyper):
        target = jax.lax.stop_gradient(outputs["quantized"])
        return jnp.mean(squared_error(outputs["z"], target))

    return Problem(
        signature="quantizer",
        build=lambda key: Quantizer(key),
        forward=forward,
        loss=Loss(
            terms={
                "mse": Term(function=mse),
                "commit": Term(function=commit, weight="loss.commitment"),
            }
        ),
        metrics=sequence_metrics(),
        hyper={"loss.commitment": commitment},
        optimizer=Optimizer(learning_rate=learning_rate),
    )


# (b) State carried across batches and reset by a flag.


def carried_problem(learning_rate=1e-2):
    def forward(model, batch, *, key, training, carry, hyper):
        state = jnp.where(batch["reset"][:, None], 0.0, carry)
        y, last = model(batch["u"], state=state)
        return {"y": y}, last

    return Problem(
        signature="carried",
        build=lambda key: Recurrent(key),
        forward=forward,
        loss=Loss(terms={"mse": Term(function=mse)}),
        metrics=sequence_metrics(),
        hyper={"model.dropout": 0.0},
        optimizer=Optimizer(learning_rate=learning_rate),
        initial_carry=lambda batch_size: jnp.zeros((batch_size, 4)),
    )


def carried_feed(*, streaming=False):
    """Four streams of 60 samples in six windows of 10."""
    long = sequences(3, count=4, length=60)
    cut = {k: v.reshape(24, 10, 1) for k, v in long.items()}
    return ToyFeed(cut, batch_size=4, streaming=streaming, consecutive=6)


# (c) A loss that needs several outputs and the whole batch.


class MaskedVae(nnx.Module):
    """A linear variational autoencoder over whole windows."""

    def __init__(self, key, *, length=20, size=2):
        first, second = jax.random.split(key)
        self.encode = nnx.Param(0.1 * jax.random.normal(first, (length, 2 * size)))
        self.decode = nnx.Param(0.1 * jax.random.normal(second, (size, length)))

    def __call__(self, x, *, key):
        mean, log_variance = jnp.split(x[..., 0] @ self.encode[...], 2, axis=-1)
        z = mean
        if key is not None:
            noise = jax.random.normal(key, mean.shape, mean.dtype)
            z = mean + jnp.exp(0.5 * log_variance) * noise
        return (z @ self.decode[...])[..., None], mean, log_variance


def vae_problem(learning_rate=1e-2, beta=0.5):
    def mask(key, batch, step):
        return batch | {"mask": jax.random.bernoulli(key, 0.7, batch["y"].shape)}

    def forward(model, batch, *, key, training, carry, hyper):
        shown = jnp.where(batch["mask"], batch["y"], 0.0)
        y, mean, log_variance = model(shown, key=key if training else None)
        return {"y": y, "mean": mean, "log_variance": log_variance}, carry

    def masked(outputs, batch, hyper):
        hidden = jnp.logical_not(batch["mask"]).astype(batch["y"].dtype)
        error = squared_error(outputs["y"], batch["y"]) * hidden
        return jnp.sum(error) / jnp.maximum(jnp.sum(hidden), 1.0)

    def divergence(outputs, batch, hyper):
        mean, log_variance = outputs["mean"], outputs["log_variance"]
        inner = 1.0 + log_variance - jnp.square(mean) - jnp.exp(log_variance)
        return -0.5 * jnp.mean(jnp.sum(inner, axis=-1))

    def physics(outputs, batch, hyper):
        y = outputs["y"]
        residual = y[:, 2:] - 1.2 * y[:, 1:-1] + 0.5 * y[:, :-2]
        return jnp.mean(jnp.square(residual))

    return Problem(
        signature="vae",
        build=lambda key: MaskedVae(key),
        forward=forward,
        loss=Loss(
            terms={
                "masked": Term(function=masked),
                "divergence": Term(function=divergence, weight="loss.annealed_beta"),
                "physics": Term(function=physics, weight="loss.physics"),
            }
        ),
        metrics=sequence_metrics(),
        hyper={"loss.beta": beta, "loss.physics": 0.1},
        schedules={
            "loss.annealed_beta": Schedule(
                function=lambda hyper, fraction: (
                    hyper["loss.beta"] * jnp.minimum(2.0 * fraction, 1.0)
                ),
                evaluation=lambda hyper: hyper["loss.beta"],
            )
        },
        augmentations=(),
        transforms=(mask,),
        optimizer=Optimizer(learning_rate=learning_rate),
    )


# (d) A target that a batch transform makes.


class Velocity(nnx.Module):
    """A two-layer network of (x_t, t)."""

    def __init__(self, key, *, length=20, size=16):
        first, second = jax.random.split(key)
        self.first = nnx.Param(0.2 * jax.random.normal(first, (length + 1, size)))
        self.second = nnx.Param(0.2 * jax.random.normal(second, (size, length)))

    def __call__(self, x, time):
        joined = jnp.concatenate([x[..., 0], time[:, None]], axis=-1)
        return (jnp.tanh(joined @ self.first[...]) @ self.second[...])[..., None]


def flow_problem(learning_rate=1e-2):
    def interpolate(key, batch, step):
        first, second = jax.random.split(key)
        x1 = batch["y"]
        x0 = jax.random.normal(first, x1.shape, x1.dtype)
        time = jax.random.uniform(second, (x1.shape[0],), x1.dtype)
        t = time[:, None, None]
        return {"x": (1 - t) * x0 + t * x1, "time": time, "v": x1 - x0}

    def forward(model, batch, *, key, training, carry, hyper):
        return {"v": model(batch["x"], batch["time"])}, carry

    def matching(outputs, batch, hyper):
        return jnp.mean(squared_error(outputs["v"], batch["v"]))

    return Problem(
        signature="flow",
        build=lambda key: Velocity(key),
        forward=forward,
        loss=Loss(terms={"matching": Term(function=matching)}),
        metrics=(
            SequenceMetric(kind="rmse", signal="v"),
            Average(name="flow", function=lambda o, b: squared_error(o["v"], b["v"])),
        ),
        transforms=(interpolate,),
        optimizer=Optimizer(learning_rate=learning_rate),
    )


def valid_windows():
    """Validation of the length that the window models need."""
    return (sequences(5, count=5), sequences(6, count=3))


KINDS = ("recurrent", "quantizer", "carried", "vae", "flow")


def toy(kind, *, learning_rate=1e-2, seed=0, epochs=4, streaming=False):
    """One learner of each kind, on data that suits it."""
    problem = {
        "recurrent": lambda: recurrent_problem(
            learning_rate=learning_rate, **{"model.dropout": 0.1}
        ),
        "quantizer": lambda: quantizer_problem(learning_rate),
        "carried": lambda: carried_problem(learning_rate),
        "vae": lambda: vae_problem(learning_rate),
        "flow": lambda: flow_problem(learning_rate),
    }[kind]()
    if kind == "carried":
        feed = carried_feed(streaming=streaming)
    else:
        feed = ToyFeed(sequences(0), batch_size=6, streaming=streaming)
    return learner_of(
        problem, seed=seed, epochs=epochs, feed=feed, valid=valid_windows()
    )
