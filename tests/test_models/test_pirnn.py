"""The family `pirnn`: against torch without physics; starts, terms and bad input; learning."""

from __future__ import annotations

import dataclasses

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import pirnn
from models.data.catalog import prepare
from models.data.simulators.odes import Tanks
from models.data.statistics import Statistics
from models.errors import ConfigError
from models.physics.collocation import INPUTS, START
from models.training.protocol import Context
from models.transforms.batch import apply_transforms
from tests.test_models.task_data import sequences

STATISTICS = Statistics(
    mean={"u": np.array([1.0]), "y": np.array([0.5])},
    std={"u": np.array([2.0]), "y": np.array([3.0])},
    count=100,
)
KNOWN, WINDOW, BATCH = 6, 20, 3
TINY = {
    "model.hidden_size": 5,
    "model.encoder.hidden_size": 4,
    "model.state_encoder_size": 4,
    "model.warm_up": 6,
    "collocation.rows": 4,
    "collocation.samples": 10,
    "data.window": WINDOW,
    "data.batch_size": BATCH,
}
OFF = {
    f"weights.{n}": 0.0
    for n in ("residual", "collocation", "consistency", "transition")
}


def task_data(task="prediction", rate=100.0, **settings):
    """Task and data without any files, sampled at a rate."""
    if task == "prediction":
        settings = {"known": KNOWN, "horizon": 8, **settings}
    data = sequences(STATISTICS, task, **settings)
    reference = dataclasses.replace(data.reference, sampling_rate=rate)
    return dataclasses.replace(data, reference=reference)


def problem_of(task="prediction", rate=100.0, **changes):
    config = pirnn.Config.from_flat({**TINY, **changes})
    return pirnn.problem(config, task_data(task, rate))


def batch_of(seed=0, dtype=np.float32):
    random = np.random.default_rng(seed)
    return {
        "u": jnp.asarray(random.normal(1.0, 2.0, (BATCH, WINDOW, 1)), dtype),
        "y": jnp.asarray(random.normal(0.5, 3.0, (BATCH, WINDOW, 1)), dtype),
    }


def hyper_of(problem, **changes):
    return {k: jnp.asarray(v) for k, v in (problem.values() | changes).items()}


def passed(problem, model, batch, *, training=False, scored=True, seed=0, **changes):
    """Outputs and the batch with its targets."""
    hyper, key = hyper_of(problem, **changes), jax.random.key(seed)
    whole = batch
    if scored:
        whole = apply_transforms(
            problem.targets,
            key=key,
            batch=batch,
            step=jnp.zeros((), jnp.int32),
            hyper=hyper,
        )
    outputs, _ = problem.forward(
        model,
        problem.visible(batch, whole),
        key=key,
        training=training,
        carry=None,
        hyper=hyper,
    )
    return outputs, whole


@pytest.mark.oracles
@pytest.mark.slow
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_without_physics_it_is_a_plain_encoder_and_decoder(cell):
    """Loss and gradients of torch, with weights of 0 for all that an equation says."""
    torch = pytest.importorskip("torch")
    with jax.enable_x64(True):
        problem = problem_of(
            **OFF, **{"model.p_state_encoder": 0.0, "model.cell": cell}
        )
        model, batch = problem.build(jax.random.key(0)), batch_of(dtype=np.float64)
        graph, params, rest = _split(model)

        def total(params):
            outputs, whole = passed(
                problem, _merged(graph, params, rest), batch, training=True
            )
            return problem.loss(outputs, whole, hyper_of(problem))[0]

        value, gradients = jax.jit(jax.value_and_grad(total))(params)
    kind = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[cell]
    encoder = kind(3, 4, batch_first=True, dtype=torch.float64)
    prognosis = kind(1, 5, batch_first=True, dtype=torch.float64)
    parts = 2 if cell == "lstm" else 1
    start = torch.nn.Linear(4, 5 * parts, dtype=torch.float64)
    head = torch.nn.Linear(5, 2, dtype=torch.float64)
    _copy_recurrent(torch, encoder, model.encoder.layers.layers[0], cell, 4)
    _copy_recurrent(torch, prognosis, model.rollout.recurrent.layers[0], cell, 5)
    _copy_linear(torch, start, model.encoder.head)
    _copy_linear(torch, head, model.rollout.head)
    u = (torch.tensor(np.asarray(batch["u"])) - 1.0) / 2.0
    y = (torch.tensor(np.asarray(batch["y"])) - 0.5) / 3.0
    given = torch.cat([u, y, torch.ones_like(y)], dim=-1)[:, :KNOWN]
    state = start(encoder(given)[0][:, -1])[None]
    if cell == "lstm":
        state = tuple(s.contiguous() for s in torch.split(state, 5, dim=-1))
    found = head(prognosis(u[:, KNOWN:], state)[0])[..., :1]
    wanted = torch.mean((found - y[:, KNOWN:]) ** 2)
    wanted.backward()
    np.testing.assert_allclose(value, wanted.item(), rtol=1e-9)
    mine = gradients["rollout"]["head"]["weight"]
    np.testing.assert_allclose(mine, head.weight.grad.numpy().T, rtol=1e-7, atol=1e-12)
    mine = gradients["encoder"]["layers"]["layers"][0]["input_weight"]
    np.testing.assert_allclose(
        mine, encoder.weight_ih_l0.grad.numpy().T, rtol=1e-6, atol=1e-12
    )
    for name in ("state_hidden", "state_head", "coefficients"):
        for leaf in jax.tree.leaves(gradients[name]):
            assert not np.asarray(leaf).any(), name


def _split(model):
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    return graph, nnx.to_pure_dict(params), nnx.to_pure_dict(rest)


def _merged(graph, params, rest):
    return nnx.merge(graph, params, rest, copy=True)


def _copy_linear(torch, layer, ours):
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(np.asarray(ours.weight[...])).T)
        layer.bias.copy_(torch.tensor(np.asarray(ours.bias[...])))


def _copy_recurrent(torch, layer, ours, cell, size):
    with torch.no_grad():
        layer.weight_ih_l0.copy_(torch.tensor(np.asarray(ours.input_weight[...])).T)
        layer.weight_hh_l0.copy_(torch.tensor(np.asarray(ours.hidden_weight[...])).T)
        layer.bias_ih_l0.copy_(torch.tensor(np.asarray(ours.input_bias[...])))
        layer.bias_hh_l0.zero_()
        if cell == "gru":
            layer.bias_hh_l0[2 * size :] = torch.tensor(
                np.asarray(ours.hidden_bias[...])
            )


@pytest.fixture(scope="module")
def built():
    """A problem of prediction and its model."""
    problem = problem_of()
    return problem, problem.build(jax.random.key(0))


@pytest.mark.slow
def test_the_state_encoder_is_drawn_by_its_probability_and_never_in_evaluation(built):
    problem, model = built
    batch = batch_of()
    run = {
        (p, training): np.asarray(
            passed(
                problem, model, batch, training=training, **{"model.p_state_encoder": p}
            )[0]["y"]
        )[:, KNOWN:]
        for p, training in ((0.0, True), (1.0, True), (1.0, False))
    }
    np.testing.assert_array_equal(run[0.0, True], run[1.0, False])
    # by hand: the physical state at the last known sample, encoded, goes on
    given = problem.given(batch)
    flat = model.encode_sequence(given, key=None)[:, KNOWN - 1 : KNOWN]
    u = model.normalize_u(batch["u"])
    state = model.read(flat, u[:, KNOWN - 1 : KNOWN])
    rolled = model.rollout(u[:, KNOWN:], model.encode_state(state)[:, 0])
    wanted = model.normalize_x.inverse(rolled.y)[..., :1]
    np.testing.assert_allclose(run[1.0, True], wanted, rtol=1e-5, atol=1e-5)
    assert np.abs(run[1.0, True] - run[0.0, True]).max() > 0.01


@pytest.mark.slow
def test_every_term_is_what_it_is_called(built):
    problem, model = built
    batch = batch_of()
    outputs, whole = passed(problem, model, batch)
    total, terms = problem.loss(outputs, whole, hyper_of(problem))
    weights = {"data": 1.0, **dict.fromkeys(OFF, 0.1)}
    assert float(total) == pytest.approx(
        sum(
            weights.get(f"weights.{n}", weights.get(n)) * float(v)
            for n, v in terms.items()
        ),
        rel=1e-5,
    )
    y, wanted = np.asarray(outputs["y"]), np.asarray(batch["y"])
    assert float(terms["data"]) == pytest.approx(
        np.mean(((y - wanted)[:, KNOWN:] / 3.0) ** 2), rel=1e-5
    )
    states = np.asarray(outputs["states"])
    np.testing.assert_array_equal(y[..., 0], states[..., 0])
    apart = (states - np.asarray(model.normalize_x.mean)) / np.asarray(
        model.normalize_x.std
    )
    near = np.diff(apart, 2, axis=1)[:, KNOWN - 4 : KNOWN + 2]
    assert float(terms["transition"]) == pytest.approx(np.mean(near**2), rel=1e-4)
    # the residual by numpy: central differences of the prognosis against the equation
    c = {"gain": 0.5, "offset": 0.0, "frequency": 50.0, "damping": 1.0}
    path, u = states[:, KNOWN:], np.asarray(batch["u"])[:, KNOWN:]
    moved = (path[:, 2:] - path[:, :-2]) * 100.0 / 2.0
    x, v = path[:, 1:-1, 0], path[:, 1:-1, 1]
    push = c["gain"] * u[:, 1:-1, 0] + c["offset"] - x - 2 * c["damping"] * v
    said = c["frequency"] * np.stack([v, push], axis=-1)
    unit = problem.forward.residual.unit
    np.testing.assert_allclose(
        outputs["residual"][:, 2:-1], (moved - said) / unit, rtol=1e-3, atol=1e-3
    )
    flat = model.encode_sequence(problem.given(batch), key=None)[:, KNOWN - 1]
    again = model.encode_state(
        model.read(flat[:, None], model.normalize_u(batch["u"])[:, KNOWN - 1 : KNOWN])
    )[:, 0]
    assert float(terms["consistency"]) == pytest.approx(
        np.mean(np.square(np.asarray(flat - again))), rel=1e-4
    )


@pytest.mark.slow
@pytest.mark.parametrize("start", ["none", "state_encoder", "random_hidden"])
def test_collocation_is_drawn_anew_and_where_states_lie(start):
    problem = problem_of(**{"collocation.start": start, "collocation.rows": 64})
    batch = batch_of()
    draws = []
    hyper = hyper_of(problem)
    for seed in (0, 1):
        draws.append(
            apply_transforms(
                problem.targets,
                key=jax.random.key(seed),
                batch=batch,
                step=jnp.zeros((), jnp.int32),
                hyper=hyper,
            )
        )
    first, second = draws
    assert first[INPUTS].shape == (64, 10, 1)
    assert not np.array_equal(first[INPUTS], second[INPUTS])
    assert float(jnp.mean(first[INPUTS])) == pytest.approx(1.0, abs=0.6)
    scale = problem.forward.stated.scale
    if start == "none":
        assert START not in first
    elif start == "state_encoder":
        states = np.asarray(first[START])
        assert states.shape == (64, 2)
        assert (states >= scale.low - 1e-5).all() and (
            states <= scale.high + 1e-5
        ).all()
        assert states.std(axis=0) == pytest.approx(scale.std, rel=0.2)
    else:
        assert first[START].shape == (64, 5)
        assert np.std(first[START]) == pytest.approx(0.1, rel=0.15)


@pytest.mark.slow
def test_collocation_teaches_coefficients_nothing(built):
    problem, model = built
    graph, params, rest = _split(model)
    batch = batch_of()

    def term(params, name):
        outputs, _ = passed(problem, _merged(graph, params, rest), batch, training=True)
        return jnp.mean(jnp.square(outputs[name]))

    slopes = {
        name: jax.jit(jax.grad(lambda p, n=name: term(p, n)))(params)
        for name in ("collocation", "residual")
    }
    assert not np.any(slopes["collocation"]["coefficients"]["shift"])
    assert np.all(np.asarray(slopes["residual"]["coefficients"]["shift"]) != 0)
    assert np.any(slopes["collocation"]["state_head"]["weight"])


@pytest.mark.slow
def test_any_number_of_known_outputs_may_come(built):
    """A prediction with 9 known outputs is what a problem with 9 known outputs gives."""
    _, model = built
    batch = batch_of()
    config = pirnn.Config.from_flat(TINY)
    nine = pirnn.problem(config, task_data(known=9))
    scored, _ = passed(nine, model, batch)
    mask = jnp.broadcast_to((jnp.arange(WINDOW) < 9)[None, :, None], (BATCH, WINDOW, 1))
    shown, _ = passed(nine, model, batch | {"given.y": mask}, scored=False)
    np.testing.assert_allclose(shown["y"], scored["y"], rtol=1e-5, atol=1e-5)
    assert set(shown) == {"y", "states"}


@pytest.mark.slow
def test_a_simulation_begins_with_what_its_first_inputs_tell():
    problem = problem_of("simulation")
    model, batch = problem.build(jax.random.key(0)), batch_of()
    y = np.asarray(passed(problem, model, batch)[0]["y"])
    for when in (3, 6, 12):
        later = batch | {"u": batch["u"].at[:, when:].add(1.0)}
        changed = np.asarray(passed(problem, model, later)[0]["y"])
        np.testing.assert_array_equal(changed[:, :when], y[:, :when])
        assert np.abs(changed[:, when:] - y[:, when:]).max() > 1e-3
    hidden = batch | {"y": batch["y"] * jnp.nan}
    np.testing.assert_array_equal(passed(problem, model, hidden)[0]["y"], y)


@pytest.mark.slow
def test_only_supervised_outputs_are_learned_from_and_read():
    statistics = Statistics(
        mean={"u": np.array([1.0]), "y": np.array([0.5, 0.0])},
        std={"u": np.array([2.0]), "y": np.array([3.0, 1.0])},
        count=100,
    )
    data = sequences(statistics, "prediction", known=KNOWN, horizon=8)
    data = dataclasses.replace(
        data, reference=dataclasses.replace(data.reference, sampling_rate=100.0)
    )
    config = {**TINY, "model.n_y_supervised": 1, "physics.equation": "both:BOTH"}
    batch = batch_of()
    second = batch_of(1)["y"]
    batch["y"] = jnp.concatenate([batch["y"], second], axis=-1)
    problem = pirnn.problem(pirnn.Config.from_flat(config), data)
    model = problem.build(jax.random.key(0))
    outputs, whole = passed(problem, model, batch)
    other = batch | {"y": batch["y"].at[..., 1].add(7.0)}
    again, _ = passed(problem, model, other)
    np.testing.assert_array_equal(again["y"], outputs["y"])
    hyper = hyper_of(problem)
    assert outputs["y"].shape[-1] == 2
    _, terms = problem.loss(outputs, whole, hyper)
    _, changed = problem.loss(outputs, {**whole, **other}, hyper)
    assert float(terms["data"]) == float(changed["data"])


@pytest.fixture(autouse=True)
def own_equations(tmp_path, monkeypatch):
    """A file of equations in the current folder."""
    (tmp_path / "both.py").write_text(
        "import dataclasses\n"
        "import jax.numpy as jnp\n"
        "from models.physics.equations.low_pass import EQUATION\n"
        "from models.physics.equations.mass_spring_damper import EQUATION as SPRING\n"
        "from models.physics.equation import Coefficient, Quantity\n"
        "BOTH = dataclasses.replace(EQUATION, outputs=EQUATION.states)\n"
        "ROOT = dataclasses.replace(EQUATION,\n"
        "    derivative=lambda x, u, c: jnp.stack([x[1], jnp.sqrt(x[0])]))\n"
        "WIDE = dataclasses.replace(EQUATION,\n"
        "    derivative=lambda x, u, c: jnp.stack([x[1], x[0], u[0]]))\n"
        "VELOCITY = Quantity(name='velocity', unit='m/s', low=-3.0, high=3.0)\n"
        "def spring(stiffness):\n"
        "    values = {'mass': 1.0, 'damping': 0.8, 'stiffness': stiffness}\n"
        "    return dataclasses.replace(SPRING, states=(SPRING.states[0], VELOCITY),\n"
        "        coefficients={k: Coefficient(value=v) for k, v in values.items()})\n"
        "RIGHT, WRONG = spring(40.0), spring(10.0)\n"
    )
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"physics.equation": "low_pas"}, "unknown equation `low_pas`"),
        ({"physics.equation": "both:WIDE"}, r"must give \[2\], got \[3\]"),
        ({"physics.equation": "both:BOTH"}, "has 2 outputs, but the data has 1"),
        ({"physics.equation": "both:ROOT"}, r"gives .*nan.* at output = "),
        (
            {"model.n_y_supervised": 2},
            "must be at most the 1 outputs of the data, got 2",
        ),
        ({"data.window": 6}, "`data.window` behind 6 known outputs"),
        ({"rate": None}, "tells no sampling rate"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    changes = dict(changes)
    rate = changes.pop("rate", 100.0)
    with pytest.raises(ConfigError, match=message):
        problem_of(rate=rate, **changes)


def test_a_window_must_be_longer_than_the_warm_up():
    with pytest.raises(
        ConfigError, match="longer than the 20 samples of `model.warm_up`"
    ):
        problem_of("simulation", **{"model.warm_up": 20})


def test_a_task_that_it_does_not_learn_is_refused(tmp_path):
    context = pirnn.example("prediction").context(tmp_path / "data")
    other = dataclasses.replace(context, task={"name": "forecast"})
    with pytest.raises(ConfigError, match="does not learn the task `forecast`"):
        pirnn.create({}, other)


def test_dropout_that_acts_nowhere_is_refused():
    with pytest.raises(ConfigError, match="acts between two layers"):
        pirnn.Config.from_flat({"model.dropout": 0.1})
    pirnn.Config.from_flat({"model.dropout": 0.1, "model.encoder.layers": 2})


# -- what it learns --------------------------------------------------------------------------

LEARNING = {
    "model.hidden_size": 24,
    "model.encoder.hidden_size": 16,
    "collocation.samples": 60,
    "data.window": 100,
    "data.batch_size": 16,
    "data.batches": 50,
    "weights.residual": 1.0,
    "weights.collocation": 1.0,
    "optimizer.learning_rate": 5e-3,
}


def trained(config, data, *, epochs, task=None):
    task = task or {"name": "prediction", "known": 30, "horizon": 70}
    context = Context(
        task=task, data=data, seed=0, epochs=epochs, objective=("rmse", "minimize")
    )
    learner = pirnn.create(config, context)
    learner.fit()
    return learner


@pytest.mark.slow
def test_a_wrong_equation_hurts(tmp_path):
    """512 noisy samples: the right equation helps, one with a quarter of the stiffness does not."""
    data = prepare(
        {"name": "mass_spring_damper", "samples": 512, "noise": 0.1}
    ).to_json()
    errors = {}
    for name in ("right", "wrong", "none"):
        told = "both:WRONG" if name == "wrong" else "both:RIGHT"
        off = OFF if name == "none" else {}
        config = {**LEARNING, **off, "physics.equation": told}
        learner = trained(config, data, epochs=15)
        errors[name] = learner.evaluate("test")["rmse"]
    assert errors["right"] < 0.9 * errors["none"] < errors["wrong"], errors
    assert errors["wrong"] > 1.2 * errors["right"]


@pytest.mark.slow
def test_the_hidden_level_of_tanks_is_found():
    """The upper tank, which nobody measures; without physics its output is anything."""
    request = {"name": "simulated_cascaded_tanks", "samples": 1024, "noise": 0.01}
    data = prepare(request).to_json()
    with h5py.File(f"{data['path']}/test/test_0.hdf5") as file:
        u = file["u0"][:]
    with jax.enable_x64(True):
        levels = Tanks().simulate(u, rate=0.25)
    upper = np.stack([levels[i : i + 100, 0] for i in range(0, len(u) - 99, 70)])
    errors = {}
    for name, off in (("physics", {}), ("none", OFF)):
        config = {**LEARNING, **off, "physics.equation": "cascaded_tanks"}
        learner = trained(config, data, epochs=20)
        found = learner.describe("test")["states"]
        errors[name] = np.sqrt(np.mean((found[:, 30:, 0] - upper[:, 30:]) ** 2))
    assert errors["physics"] < 0.5 * upper.std(), errors
    assert errors["physics"] < 0.5 * errors["none"], errors
