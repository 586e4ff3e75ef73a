"""The family `greybox`: starts against closed forms and scipy, coefficients recovered."""

from __future__ import annotations

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.signal

from models import greybox
from models.data.catalog import prepare
from models.errors import ConfigError
from models.physics.found import find_equation
from models.physics.solve import rk4
from models.physics.starts import fitted_start, steady_state
from models.training.protocol import Context

RATE = 20.0
TANKS = find_equation("cascaded_tanks")


def tanks_field(values, x, u):
    return TANKS.derivative(x, u, values)


def test_steady_state_and_its_slope_equal_the_closed_form():
    """``(pump u / outflow)²`` in both tanks, and its derivative by the pump."""
    u = jnp.array([[1.0], [2.5]])

    def lower(pump):
        values = {k: jnp.asarray(v) for k, v in TANKS.values.items()} | {"pump": pump}
        guess = jnp.full((2, 2), 6.0)
        return steady_state(
            tanks_field, values, u, guess, rate=0.25, limits=TANKS.limits()
        )[:, 1]

    levels, slopes = jax.jvp(lower, (jnp.asarray(0.04),), (jnp.asarray(1.0),))
    wanted = (0.04 * np.array([1.0, 2.5]) / 0.05) ** 2
    np.testing.assert_allclose(levels, wanted, rtol=1e-4)
    np.testing.assert_allclose(slopes, 2 * wanted / 0.04, rtol=1e-3)


def test_a_plant_that_integrates_stays_finite():
    def field(values, x, u):
        return jnp.stack([x[1], u[0]])

    limits = (jnp.full(2, -jnp.inf), jnp.full(2, jnp.inf))
    found = steady_state(
        field, (), jnp.ones((1, 1)), jnp.zeros((1, 2)), rate=10.0, limits=limits
    )
    assert jnp.isfinite(found).all()


def oscillation(c, start, u):
    """Displacements of a damped oscillator in numpy, by the exact discrete system."""
    system = ([[0.0, 1.0], [-c, -0.8]], [[0.0], [1.0]], [[1.0, 0.0]], [[0.0]])
    times = np.arange(len(u)) / RATE
    return scipy.signal.lsim(system, u, times, X0=start)[1]


def test_a_fitted_start_and_its_slope_equal_scipy():
    random = np.random.default_rng(0)
    u, true = random.normal(size=40), np.array([0.3, -2.0])
    y = oscillation(40.0, true, u) + 0.01 * random.normal(size=40)
    given = np.arange(40) < 25
    given[5:9] = False

    def wanted(stiffness):
        return scipy.optimize.least_squares(
            lambda x: (oscillation(stiffness, x, u) - y)[given], [0, 0]
        ).x

    def found(stiffness):
        def outputs(c, start):
            return rk4(
                lambda x, v: jnp.stack([x[1], v[0] - 0.8 * x[1] - c * x[0]]),
                start,
                jnp.asarray(u, jnp.float32)[None, :, None],
                rate=RATE,
                steps=2,
            )[..., :1]

        return fitted_start(
            outputs,
            stiffness,
            (jnp.zeros((1, 2)), jnp.full((1, 2), 3.0)),
            y=jnp.asarray(np.where(given, y, 1e6), jnp.float32)[None, :, None],
            given=jnp.asarray(given)[None, :, None],
            std=jnp.ones(1),
            limits=(jnp.full(2, -jnp.inf), jnp.full(2, jnp.inf)),
            steps=5,
        )[0]

    start, slope = jax.jvp(found, (jnp.asarray(40.0),), (jnp.asarray(1.0),))
    np.testing.assert_allclose(start, wanted(40.0), rtol=0, atol=2e-3)
    differences = (wanted(40.5) - wanted(39.5)) / 1.0
    np.testing.assert_allclose(slope, differences, rtol=0.15, atol=1e-3)


def write(folder, *, stiffness=40.0, damping=0.8, rate=RATE):
    """Noiseless records of a mass of 1 kg on a spring, from rest."""
    random = np.random.default_rng(1)
    for part, length in (("train", 400), ("valid", 150), ("test", 150)):
        (folder / part).mkdir(parents=True)
        u = 4 * np.repeat(random.normal(size=length // 10), 10)
        u[:10] = 0.0
        system = ([[0.0, 1.0], [-stiffness, -damping]], [[0.0], [1.0]])
        times = np.arange(length) / RATE
        y = scipy.signal.lsim((*system, [[1.0, 0.0]], [[0.0]]), u, times)[1]
        with h5py.File(folder / part / "0.hdf5", "w") as file:
            if rate:
                file.attrs["fs"] = rate
            file["u0"], file["y0"] = u, y
    return prepare(str(folder)).to_json()


LEAST_SQUARES = {
    "optimizer.kind": "levenberg_marquardt",
    "optimizer.stage_windows": (),
    "optimizer.stage_epochs": (),
    "physics.steps": 2,
    "data.window": 100,
    "data.batch_size": 4,
}


def learner(data, task="simulation", epochs=8, **config):
    described = {"name": task}
    if task == "prediction":
        described |= {"known": 10, "horizon": 40}
    context = Context(data=data, task=described, seed=0, epochs=epochs)
    return greybox.create(config, context)


# Begins at other values than the truth: 40 N/m and 0.8 N s/m.
OWN = """
from models.physics.equations.mass_spring_damper import EQUATION as SHIPPED

FAR = SHIPPED.given(stiffness=55.0, damping=2.0)
HEAVY = SHIPPED.given(stiffness=55.0, damping=2.0, mass=3.0)
"""


@pytest.fixture
def far(tmp_path, monkeypatch):
    (tmp_path / "springs.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["simulation", "prediction"])
def test_coefficients_are_recovered_and_a_wrong_equation_hurts(task, tmp_path, far):
    data = write(tmp_path / "set")
    right = learner(data, task, **LEAST_SQUARES, **{"physics.equation": "springs:FAR"})
    last = right.fit()[-1].valid
    assert last["coefficient.stiffness"] == pytest.approx(40.0, rel=0.01)
    assert last["coefficient.damping"] == pytest.approx(0.8, rel=0.01)
    first = right.records[0].valid
    assert first["coefficient.stiffness"] != last["coefficient.stiffness"]
    if task == "prediction":
        return
    config = {**LEAST_SQUARES, "physics.equation": "springs:HEAVY"}
    wrong = learner(data, task, **config).fit()[-1].valid
    assert wrong["rmse"] > 10 * last["rmse"]


def test_without_a_network_it_is_the_equation_alone(tmp_path):
    """The whole prediction against numpy's loop over Runge and Kutta's steps."""
    data = write(tmp_path / "set")
    made = learner(data, **{"model.residual": 0})
    u = np.random.default_rng(3).normal(size=(30, 1))
    found = made.predict({"u": u})["y"][:, 0]
    x = np.array([u[0, 0] / 40.0, 0.0])  # the steady state of the first force
    wanted = []
    for now, after in zip(u[:, 0], [*u[1:, 0], 0.0], strict=True):
        wanted.append(x[0])
        field = lambda s, v: np.array([s[1], v - 0.8 * s[1] - 40 * s[0]])  # noqa: E731
        h, middle = 1 / RATE, (now + after) / 2
        a = field(x, now)
        b = field(x + h / 2 * a, middle)
        c = field(x + h / 2 * b, middle)
        x = x + h / 6 * (a + 2 * b + 2 * c + field(x + h * c, after))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_the_file_of_an_equation_belongs_to_the_signature(tmp_path, far):
    data = write(tmp_path / "set")

    made = learner(data)

    def signature():
        config = greybox.Config.from_flat({"physics.equation": "springs:FAR"})
        return greybox.problem(config, made.interface).signature

    before = signature()
    (tmp_path / "springs.py").write_text(OWN + "\n# another file\n")
    assert signature() != before


NARROW = """
import dataclasses
import jax.numpy as jnp
from models.physics.equation import Quantity
from models.physics.equations.mass_spring_damper import EQUATION as SHIPPED

def state(**range):
    first, second = SHIPPED.states
    return dataclasses.replace(SHIPPED, states=(dataclasses.replace(first, **range), second))

RANGE = state(low=5.0, high=9.0)
TWO = dataclasses.replace(SHIPPED, inputs=(*SHIPPED.inputs, Quantity(name="wind")))
SHAPE = dataclasses.replace(SHIPPED, derivative=lambda x, u, c: x[:1])
NAN = dataclasses.replace(SHIPPED, derivative=lambda x, u, c: jnp.log(x - 1.0))
START = dataclasses.replace(state(low=-9.0, high=9.0), start=lambda u, c: jnp.full(2, 50.0))
"""


@pytest.mark.parametrize(
    "name, message",
    [
        ("RANGE", "outside the range 5 to 9 of the state `displacement`"),
        ("TWO", "has 2 inputs, but the data has 1"),
        ("SHAPE", r"must give \[2\], got \[1\]"),
        ("NAN", r"`derivative` of the equation gives \[nan, nan\] at displacement"),
        ("START", "displacement = 50, outside its range -9 to 9"),
    ],
)
def test_an_equation_that_does_not_fit_the_data(name, message, tmp_path, monkeypatch):
    (tmp_path / "narrow.py").write_text(NARROW)
    monkeypatch.chdir(tmp_path)
    data = write(tmp_path / "set")
    with pytest.raises(ConfigError, match=message):
        learner(data, **{"physics.equation": f"narrow:{name}"})


def test_other_bad_input(tmp_path):
    data = write(tmp_path / "set")
    with pytest.raises(ConfigError, match="leaves|must be less than `data.window`"):
        learner(data, "prediction", **{"data.window": 10})
    with pytest.raises(ConfigError, match="does not learn the task `forecast`"):
        greybox.create({}, Context(data=data, task={"name": "forecast"}, epochs=1))
    with pytest.raises(ConfigError, match="`spread` must be"):
        learner(data, **{"physics.spread": -1.0})
    silent = write(tmp_path / "silent", rate=None)
    with pytest.raises(ConfigError, match="no sampling rate"):
        learner(silent)
