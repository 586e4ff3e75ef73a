"""The task of a study: named, the only one that is shared, or refused; and its objective."""

from __future__ import annotations

import pytest
from optuna.distributions import FloatDistribution

from hpo import HPOptimizer
from hpo.cli import overrides
from hpo.errors import StudyError
from hpo.study import Family, Objective, Study
from hpo.tasks import described, with_task
from models.errors import ConfigError
from search_spaces.space import Space

SPACE = Space({"optimizer.learning_rate": FloatDistribution(1e-4, 1e-2)})
TANKS = {"name": "simulated_cascaded_tanks", "samples": 600}
RNN = Family(name="rnn", space=SPACE)
TABLE = Family(
    name="table", space=SPACE, create="tests.toy_families.table_forecast:create"
)
ROWS = Family(name="rows", space=SPACE, create="tests.toy_families.masked_rows:create")
OWN = Family(name="own", space=SPACE, create=lambda config, context: None)


def study(*families, **changes):
    return Study(**{"name": "x", "families": families, "data": TANKS, **changes})


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("date,a\n" + "".join(f"2020-01-0{d},{d}\n" for d in range(1, 8)))
    return str(path)


def test_a_named_task_gets_all_of_its_settings():
    found = with_task(study(RNN, task={"name": "prediction", "known": 30}))
    assert found.task == {"name": "prediction", "known": 30, "horizon": 100}
    assert described(found.task) == "prediction (known 30, horizon 100)"
    assert with_task(found) == found
    assert Study.from_json(found.to_json()).task == found.task


def test_the_only_shared_task_need_not_be_named(table):
    found = with_task(study(TABLE, data={"path": table}))
    assert found.task["name"] == "forecast"
    assert found.objectives == (Objective(metric="mse"),)


def test_an_objective_that_is_named_stands(table):
    mine = (Objective(metric="mae", unit="°C"),)
    found = with_task(study(TABLE, data={"path": table}, objectives=mine))
    assert found.objectives == mine


def test_families_that_say_nothing_learn_any_task():
    assert with_task(study(OWN)).task is None
    assert with_task(study(OWN, data={"anything": 1})).task is None
    assert with_task(study(OWN, RNN, task="simulation")).task["name"] == "simulation"


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: study(RNN), ("does not say its task", "`simulation` or `prediction`")),
        (lambda: study(RNN, TABLE), ("share no task", "table: `forecast`")),
        (lambda: study(RNN, ROWS, task="simulation"), ("`rows`", "`simulation`")),
        (lambda: study(TABLE), ("share no task", "kind records")),
        (lambda: study(TABLE, task="forecast"), ("kind `series`", "kind records")),
    ],
)
def test_what_does_not_fit_is_refused(made, words):
    with pytest.raises(StudyError) as caught:
        with_task(made())
    for word in words:
        assert word in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("predction", "`prediction`"),
        ({"name": "prediction", "knwon": 3}, "`known`"),
        ({"name": "prediction", "known": 0}, "at least 1"),
    ],
)
def test_a_task_that_is_not_there_or_refuses_a_setting(task, words):
    with pytest.raises(ConfigError) as caught:
        with_task(study(RNN, task=task))
    assert words in str(caught.value)


@pytest.mark.parametrize("task", [3, {"known": 3}, ["simulation"]])
def test_a_task_is_a_name_or_a_mapping(task):
    with pytest.raises(StudyError, match="a task is a name, or a mapping"):
        study(RNN, task=task)


def test_recorded_studies_without_a_task_were_simulations():
    old = study(RNN, task="simulation").to_json()
    del old["task"]
    assert Study.from_json(old).task == {"name": "simulation"}


def changed(study, *settings):
    return overrides.apply_settings(study, overrides.parse_settings(settings))


def test_set_reaches_the_task_and_its_settings():
    plain = study(RNN, task="prediction")
    assert changed(plain, "task=simulation").task == {"name": "simulation"}
    found = with_task(changed(plain, "task.known=7"))
    assert found.task == {"name": "prediction", "known": 7, "horizon": 100}
    with pytest.raises(ConfigError, match="unknown configuration key"):
        with_task(changed(plain, "task.nothing=7"))


def test_a_unit_alone_keeps_the_tasks_metric(table):
    plain = study(TABLE, data={"path": table}, task="forecast")
    found = with_task(changed(plain, "objective.unit=K"))
    assert found.objectives == (Objective(metric="mse", unit="K"),)


def test_the_optimizer_takes_a_task(tmp_path):
    tuner = HPOptimizer("models.rnn:create", TANKS)
    with pytest.raises(StudyError, match="does not say its task"):
        tuner.optimize(SPACE, 1, trials=1, results=tmp_path, quiet=True)
    tuner = HPOptimizer("models.rnn:create", TANKS, task="forecast")
    with pytest.raises(StudyError, match="does not learn the task `forecast`"):
        tuner.optimize(SPACE, 1, trials=1, results=tmp_path, quiet=True)
