"""Augmentations as people set them: alive, in training only, and without a trace when off."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import crnn, rnn, tcn
from models.errors import ConfigError
from models.example import Example
from models.family import learner_of
from models.training.lengths import Lengths, lengths_between
from models.training.problem import Schedule
from models.transforms import apply_transforms
from tests.test_models.test_sequence_loss import DATA, config_of
from tests.test_models.training_toys import (
    ToyFeed,
    leaves,
    recurrent_problem,
    sequences,
)
from tests.test_models.training_toys import (
    learner_of as toy_learner_of,
)

FAMILIES = (rnn, tcn, crnn)


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    return Example(task="simulation", config={}).context(
        tmp_path_factory.mktemp("data")
    )


def tiny(context, **flat):
    """An untrained rate: whatever differs is what training saw."""
    own = {**rnn.example("simulation").config, "optimizer.learning_rate": 0.0}
    config = rnn.Config.from_flat(
        {**own, **{f"augmentation.{k}": v for k, v in flat.items()}}
    )
    return learner_of(rnn, config, dataclasses.replace(context, epochs=2))


def test_they_act_in_training_only(context):
    plain = tiny(context).fit()
    for values in (
        {"noise": 0.5, "random_end": 6},
        {"shortest": 6, "lengths": 2, "grow_until": 0.4},
    ):
        epochs = tiny(context, **values).fit()
        assert plain[0].train["loss"] != epochs[0].train["loss"], values
        for a, b in zip(plain, epochs, strict=True):
            assert a.valid == b.valid, values
    # Windows that have grown are whole: the last epoch is as if they had always been.
    assert epochs[-1].train["loss"] == plain[-1].train["loss"]


@pytest.mark.parametrize(
    ("values", "changed"),
    [
        ({"noise": 0.5}, "u"),
        ({"varying_noise": 0.5}, "u"),
        ({"bias": 0.5}, "u"),
        ({"random_end": 6}, "counted.y"),
    ],
    ids=str,
)
def test_each_changes_what_it_says(values, changed):
    config = config_of(rnn, **{f"augmentation.{k}": v for k, v in values.items()})
    problem = rnn.problem(config, DATA)
    hyper = {k: jnp.asarray(v) for k, v in problem.values().items()}
    batch = {"u": jnp.ones((3, 20, 2)), "y": jnp.ones((3, 20, 2))}
    after = apply_transforms(
        problem.augmentations,
        key=jax.random.key(0),
        batch=batch,
        step=jnp.int32(0),
        hyper=hyper,
    )
    same = {n for n in after if n in batch and bool(jnp.all(after[n] == batch[n]))}
    assert set(after) - same == {changed}


def test_noise_and_bias_are_traced(context):
    a = tiny(context, noise=0.2, bias=0.1, probability=0.5)
    b = tiny(context, noise=0.4, bias=0.2, probability=0.7)
    assert a.problem.signature == b.problem.signature
    first, second = a.fit(), b.fit()
    assert first[0].train["loss"] != second[0].train["loss"]
    assert sum(e.compile_seconds for e in second) == 0, "another level compiles nothing"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
def test_what_is_off_is_in_no_signature_and_does_nothing(family):
    config = config_of(family)
    said = {key for key, _ in config.static_signature()} | set(config.traced())
    assert not any(key.startswith("augmentation.") for key in said)
    problem = family.problem(config, DATA)
    assert (
        not problem.augmentations and problem.lengths is None and not problem.schedules
    )
    unread = config_of(
        family,
        **{"augmentation.probability": 0.5, "augmentation.groups": [0, 1]},
        **{"augmentation.lengths": 3, "augmentation.grow_from": 0.3},
    )
    assert unread.static_signature() == config.static_signature()
    grouped = config_of(
        family,
        **{"augmentation.varying_noise": 0.1, "augmentation.groups": [0, 1]},
    )
    assert ("augmentation.groups", (0, 1)) in grouped.static_signature()
    assert len(family.problem(grouped, DATA).augmentations) == 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"shortest": 4}, r"from 5 .* `data.window` 20, got 4"),
        ({"shortest": 21}, "got 21"),
        ({"random_end": 3}, "random_end"),
        ({"noise": -0.1}, "at least 0"),
        ({"probability": 1.5}, "from 0 to 1"),
        ({"varying_noise": 0.1, "groups": [0, 1, 2]}, "2 channels"),
    ],
    ids=str,
)
def test_bad_values_are_refused(values, words):
    with pytest.raises(ConfigError, match=words):
        config = config_of(rnn, **{f"augmentation.{k}": v for k, v in values.items()})
        rnn.problem(config, DATA)


def test_least_squares_takes_whole_windows(context):
    config = rnn.Config.from_flat(
        {
            **rnn.example("simulation").config,
            "loss.kind": "mse",
            "optimizer.kind": "levenberg_marquardt",
            "augmentation.shortest": 6,
        }
    )
    with pytest.raises(ConfigError, match="begin with 6"):
        learner_of(rnn, config, context)


def test_lengths_are_few_and_rise():
    assert lengths_between(50, 250, 5) == (50, 100, 150, 200, 250)
    assert lengths_between(9, 10, 4) == (9, 10)
    for sizes in ((), (0, 3), (3, 3)):
        with pytest.raises(ConfigError, match="rise"):
            Lengths(sizes=sizes, share="share")


def test_a_step_takes_the_shortest_length_that_holds_what_is_asked():
    lengths = Lengths(sizes=(5, 10, 20), share="share")
    found = [
        int(lengths.place({"share": jnp.float32(s)})) for s in (0, 0.1, 0.34, 0.4, 1, 2)
    ]
    assert found == [0, 1, 2, 2, 2, 2]


def grown(signature, sizes, share):
    """The toy with lengths; every trace of its forward pass is told."""
    traces = []
    plain = recurrent_problem(signature=signature)

    def forward(model, batch, *, training, **rest):
        if training:
            traces.append(batch["u"].shape[1])
        return plain.forward(model, batch, training=training, **rest)

    schedule = Schedule(
        function=lambda hyper, fraction: share(fraction), evaluation=1.0
    )
    problem = dataclasses.replace(
        plain,
        forward=forward,
        lengths=Lengths(sizes=sizes, share="grown"),
        schedules={"grown": schedule},
    )
    return problem, traces


def test_a_growing_window_compiles_once_a_length_however_it_grows():
    problem, traces = grown("grow", (5, 10, 20), lambda fraction: fraction)
    learner = toy_learner_of(problem, epochs=4)
    epochs = learner.fit()
    assert len({e.train["loss"] for e in epochs}) == 4
    assert set(traces) == {5, 10, 20}
    assert len(traces) <= 2 * 3, (
        "differentiating may trace a branch twice, steps do not"
    )


@pytest.mark.parametrize(
    ("share", "length"), [(0.0, 5), pytest.param(1.0, 20, marks=pytest.mark.slow)]
)
def test_a_cut_batch_trains_as_one_that_was_never_longer(share, length):
    problem, _ = grown(f"fixed {share}", (5, 20), lambda fraction: jnp.full((), share))
    arrays = sequences(0)
    got = toy_learner_of(problem, epochs=2)
    got.fit()
    short = {name: values[:, :length] for name, values in arrays.items()}
    wanted = toy_learner_of(
        recurrent_problem(signature=f"short {length}"),
        epochs=2,
        feed=ToyFeed(short, batch_size=6),
    )
    wanted.fit()
    for a, b in zip(leaves(got.state.params), leaves(wanted.state.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_models_view_holds_no_mask_of_the_loss():
    config = config_of(rnn, **{"augmentation.random_end": 8})
    problem = rnn.problem(config, DATA)
    (function,) = problem.augmentations
    batch = {"u": jnp.ones((3, 20, 2)), "y": jnp.ones((3, 20, 2))}
    batch = function.function(jax.random.key(0), batch, jnp.int32(0))
    assert "counted.y" in batch
    assert set(problem.given(batch)) == {"u"}
