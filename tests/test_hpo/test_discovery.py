"""Things found by name: families, spaces, studies; and whose package it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpo import discovery
from hpo.check import child, keys
from hpo.cli import overrides
from hpo.duration import parse_duration
from hpo.errors import ForeignFailure, StudyError
from hpo.study import Family, Study
from search_spaces.space import Space
from tests.test_hpo import sample_run
from tests.test_hpo.command_line import run

ROOT = Path(__file__).parent.parent.parent


def test_every_family_is_found_by_its_file_and_has_a_space():
    found = {f.name: f for f in discovery.families()}
    assert {"rnn", "tcn", "crnn", "linear"} <= set(found)
    assert found["linear"].closed_form and not found["rnn"].closed_form
    assert found["rnn"].create == "models.rnn:create"
    assert all(f.space and f.description for f in found.values())
    assert "config" not in found and "errors" not in found
    with pytest.raises(StudyError, match="unknown family `rrn`") as error:
        discovery.family("rrn")
    assert "`rnn`" in error.value.hint


def test_every_listed_space_and_study_can_be_loaded():
    for found in discovery.spaces():
        assert discovery.space(found.name).entries()
    for found in discovery.studies():
        study = discovery.load_study(found.name)
        assert study.name == found.name and study.description == found.description


OWN = """
from hpo.study import Budget, Family, Study

FAMILY = Family(name="linear", space={"model.order": 2})
STUDY = Study(name="own", families=(FAMILY,), budget=Budget(trials=TRIALS))
"""


def test_a_study_changed_within_a_second_is_read_as_it_is(tmp_path, monkeypatch):
    """By as many letters too, where Python keeps bytecode."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = tmp_path / "own.py"
    file.write_text(OWN.replace("TRIALS", "4"))
    moment = file.stat()
    assert discovery.load_study(str(file)).budget.trials == 4
    file.write_text(OWN.replace("TRIALS", "5"))
    os.utime(file, ns=(moment.st_atime_ns, moment.st_mtime_ns))
    assert discovery.load_study(str(file)).budget.trials == 5
    assert [p.name for p in tmp_path.iterdir()] == ["own.py"], "nothing beside it"


def test_closed_form_families_get_one_trial_of_one_epoch():
    space = discovery.space("linear")
    linear = Family(name="linear", space=space)
    rnn = Family(name="rnn", space=discovery.space("rnn"))
    study = Study(name="x", families=(linear, rnn))
    resolved = discovery.resolve(study)
    assert resolved.trials_of() == {"linear": 1, "rnn": 15}
    assert resolved.epochs_of("linear") == 1 and resolved.epochs_of("rnn") == 30
    own = Family(name="linear", space=space, trials=3, epochs=2)
    kept = discovery.resolve(study.replace(families=(own,)))
    assert kept.trials_of() == {"linear": 3} and kept.epochs_of("linear") == 2


def test_listing_imports_no_family_and_no_study():
    check = (
        "import sys\nfrom hpo import discovery\n"
        "discovery.families(), discovery.spaces(), discovery.studies()\n"
        "bad = [m for m in sys.modules if m.partition('.')[0] in ('jax', 'flax', 'ray')"
        " or m.startswith(('studies.', 'models.rnn', 'search_spaces.rnn'))]\n"
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_another_package_called_models_is_told(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models/__init__.py").write_text("")
    (tmp_path / "models/errors.py").write_text((ROOT / "models/errors.py").read_text())
    check = (
        f"import sys; import hpo.discovery as d\nsys.modules.pop('models')\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "try:\n    d.families()\nexcept d.StudyError as e:\n    print(e)"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True
    )
    assert f"finds the package `models` at {tmp_path}" in done.stdout, done.stderr


def test_a_study_file_by_path_keeps_what_it_defines(tmp_path):
    path = tmp_path / "walk.py"
    path.write_text(sample_run.WALK)
    study = discovery.load_study(str(path))
    assert study.name == "walks" and study.description.startswith("A tiny study")
    assert study.families[0].create.__name__ == "Walk"


def test_configurations_are_checked_in_a_child_process():
    good, bad, foreign = keys.check_configurations(
        [
            ("models.rnn:create", {"optimizer.learning_rate": 0.01}),
            ("models.rnn:create", {"model.hidden_size": -3}),
            ("tests.test_hpo.sample_run:create", {"a": 1}),
        ]
    )
    assert "optimizer.learning_rate" in good.keys and not good.error
    assert "at least 1" in bad.error
    assert foreign.keys is None


def test_a_family_that_cannot_be_imported_is_told(tmp_path, monkeypatch):
    (tmp_path / "brokenfamily.py").write_text("import no_such_thing_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ForeignFailure, match="no_such_thing_at_all"):
        keys.check_configurations([("brokenfamily:create", {})])


@pytest.mark.parametrize(
    ("space", "settings", "words"),
    [
        ({"model.hiden_size": 8}, {}, "did you mean `model.hidden_size`"),
        (
            {"model.hidden_size": 0},
            {},
            "family `rnn`: `hidden_size` must be at least 1",
        ),
        ({}, {"optimizer.learning_rat": 1}, "did you mean `optimizer.learning_rate`"),
    ],
)
def test_a_study_with_keys_nobody_knows_is_refused_before_it_starts(
    space, settings, words
):
    family = Family(name="rnn", space=Space(space))
    study = Study(name="typo", families=(family,), settings=settings)
    with pytest.raises(StudyError) as caught:
        overrides.apply_settings(study, {})
    assert words in str(caught.value)


def test_a_foreign_family_takes_any_key():
    family = Family(
        name="own", space=Space({"x": 1}), create="tests.test_hpo.sample_run:create"
    )
    study = Study(name="own", families=(family,), settings={"y": 2})
    assert overrides.apply_settings(study, {}) == study


def knows(*names, error=""):
    """The families of the sample know what their spaces have, and these names."""
    own = {f.reference: f.space.entries() for f in sample_run.STUDY.families}
    return lambda asked: tuple(
        keys.Checked(keys=(*names, *own[reference]), error=error)
        for reference, _ in asked
    )


def test_settings_reach_study_and_configuration():
    study = overrides.apply_settings(
        sample_run.STUDY,
        {
            "budget.trials": 3,
            "budget.seconds": None,
            "seed": 9,
            "sampler.name": "random",
            "stopping.halving.eta": 5,
            "objective.metric": "fit",
            "objective.direction": "maximize",
            "resources.executor": "local",
            "families.rnn.share": 2.0,
            "model.hidden_size": 24,
            "optimizer.decay_start": 0.7,
        },
        check=knows("optimizer.decay_start"),
    )
    assert (study.budget.trials, study.seed, study.sampler.name) == (3, 9, "random")
    assert study.stopping[1].options == {"eta": 5}
    assert (study.objectives[0].metric, study.objectives[0].unit) == ("fit", "V")
    assert study.resources.executor == "local" and study.family("rnn").share == 2.0
    rnn, linear = study.families
    assert rnn.space.constants["model.hidden_size"] == 24
    assert "model.hidden_size" not in linear.space.entries()
    assert linear.space.constants["optimizer.decay_start"] == 0.7


def test_settings_that_nobody_knows_or_that_are_refused():
    with pytest.raises(StudyError, match="`model.hidden_siz`") as error:
        overrides.apply_settings(
            sample_run.STUDY, {"model.hidden_siz": 1}, check=knows()
        )
    assert "`model.hidden_size`" in error.value.hint
    with pytest.raises(StudyError, match="family `rnn`: too small"):
        overrides.apply_settings(
            sample_run.STUDY, {"model.hidden_size": 0}, check=knows(error="too small")
        )
    for key in ("families.rnn.shares", "stopping.ash.eta", "resources.worker"):
        with pytest.raises(StudyError, match="unknown key"):
            overrides.apply_settings(sample_run.STUDY, {key: 1}, check=knows())


@pytest.mark.parametrize(
    "settings", [(), ("--set", "optimizer.rate=0.5"), ("--seed", 1)]
)
def test_families_are_asked_once(settings, tmp_path, monkeypatch):
    asked = []

    def ask(module, question, **options):
        asked.append(module)
        return real(module, question, **options)

    real = child.ask
    monkeypatch.setattr(child, "ask", ask)
    (tmp_path / "walk.py").write_text(sample_run.WALK)
    given = ("--executor", "local", "--results", tmp_path, *settings)
    result = run("launch", tmp_path / "walk.py", *given)
    assert result.exit_code == 0, result.stderr
    assert asked == ["hpo.check.keys"]


def test_a_family_that_prints_while_it_is_imported_can_be_asked(tmp_path, monkeypatch):
    (tmp_path / "talkative.py").write_text("print('hello')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (answer,) = keys.check_configurations([("talkative:create", {})])
    assert answer.keys is None


def test_points_to_try_first_lose_what_is_fixed():
    import dataclasses

    rnn = sample_run.STUDY.families[0]
    point = {"model.cell": "gru", "model.hidden_size": 32,
             "optimizer.learning_rate": 0.01, "data.window": 100}  # fmt: skip
    study = sample_run.STUDY.replace(
        families=(dataclasses.replace(rnn, initial_points=(point,)),)
    )
    fixed = overrides.apply_settings(study, {"model.cell": "lstm"}, check=knows())
    assert fixed.families[0].initial_points == (
        {k: v for k, v in point.items() if k != "model.cell"},
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("45s", 45),
        ("30m", 1800),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("2 min", 120),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text, option="--stall") == seconds


def test_values_are_json_and_text_where_they_are_none():
    parsed = overrides.parse_settings(["a=1", "b=[1, 2]", "c=text", "d=a=b", "e=null"])
    assert parsed == {"a": 1, "b": [1, 2], "c": "text", "d": "a=b", "e": None}
