"""Runs in which trials adopt each other: one training each, repeated bit for bit and told."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from msgspec import structs
from optuna.distributions import FloatDistribution, IntDistribution

from hpo import packages
from hpo.errors import ForeignFailure, StudyError
from hpo.export.model import export_model
from hpo.fixed import FixedTrial
from hpo.ledger.events import EpochEvent, Exploited
from hpo.ledger.folder import RunFolder
from hpo.ledger.log import read_events
from hpo.optimizer import HPOptimizer
from hpo.report.hyperparameters import adopted
from hpo.report.importance import importances
from hpo.report.summary import load_summary
from hpo.report.table import render
from hpo.run.extend import Extension, extended
from hpo.run.launch import launch
from hpo.run.rerun import opened
from hpo.run.trained_model import load_model
from hpo.schedule import values_in, written
from hpo.simulate import own
from hpo.simulate.virtual import simulate
from hpo.study import Budget, Family, Resources, Rule, Study
from hpo.testing import executors as suite
from hpo.testing.learners import check_adoption
from hpo.testing.steady import Steady, trained
from hpo.warm_start import WarmStart
from models.training.protocol import Context, Epoch
from tests.test_hpo.command_line import refused, run

ROOT = Path(__file__).parents[2]
PBT = Rule(name="pbt", options={"interval": 2, "quantile": 0.5})
LOCAL = Resources(executor="local", workers=1)
SPACE = {"rate": FloatDistribution(0.05, 0.9), "start": 1.0}


def study(**changes):
    family = Family(name="steady", space=SPACE, create="hpo.testing.steady:create")
    whole = {
        "name": "population",
        "families": (family,),
        "budget": Budget(trials=4, epochs=6),
        "stopping": (PBT,),
        "resources": LOCAL,
        "seed": 5,
    }
    return Study(**whole | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run."""
    return launch(study(), results=tmp_path_factory.mktemp("steady")).folder


@pytest.fixture(scope="module")
def summary(folder):
    return load_summary(folder)


def adopters(summary):
    return [row for row in summary.rows if row.schedule]


def steady(row, place, seed=None):
    """The epochs of a trial's training, by hand: a loop over rates."""
    context = Context(seed=row.seed if seed is None else seed, directory=place / "x")
    learner = Steady({"start": 1.0, "rate": row.params["rate"]}, context)
    found = []
    for number in range(1, row.epoch_budget + 1):
        learner.config["rate"] = values_in(row.params, row.schedule, number)["rate"]
        found.append([*learner.fit_iter(number)][-1])
    return found


def test_every_trial_is_one_training_and_epochs_count_once(folder, summary, tmp_path):
    assert len(adopters(summary)) >= 2
    events, _ = read_events(folder / "events.jsonl")
    for row in summary.rows:
        assert row.state == "completed"
        curve = [(p.epoch, p.value) for p in row.curve]
        told = steady(row, tmp_path)
        assert curve == [(e.number, e.valid["rmse"]) for e in told]
        assert row.objective == min(value for _, value in curve)
    spent = {number: len(lines) for number, lines in trained(folder).items()}
    assert spent == {1: 6, 2: 6, 3: 6, 4: 6}
    assert sum(row.epochs for row in summary.rows) == 24
    assert sum(isinstance(e, EpochEvent) for e in events) == 24
    first = {e.trial: e for e in events if isinstance(e, Exploited) and e.epoch == 2}
    for number, event in first.items():
        assert event.donor != number and event.rule == "pbt"
        assert 0.05 <= event.traced["rate"] <= 0.9


def test_a_rerun_repeats_lineages_bit_for_bit(folder, summary):
    with opened(folder) as reruns:
        found = reruns.exact(list(reruns.summary.rows)).results
    assert [(e.equal, e.epochs) for e in found] == [(True, 6)] * 4
    config = RunFolder(folder).config_file(adopters(summary)[0].trial)
    told = json.loads(config.read_text())
    row = adopters(summary)[0]
    assert (told["seed"], told["schedule"]) == (row.seed, written(row.schedule))
    assert told["config"]["rate"] == row.params["rate"]


def test_without_its_schedule_it_is_another_training(summary, tmp_path):
    """What a re-run repeats is not the values of the first epoch, nor those of the last."""
    row = adopters(summary)[0]
    last = values_in(row.params, row.schedule)
    for params in (row.params, last):
        trial = FixedTrial(family="steady", params=dict(params), seed=row.seed)
        again = study(stopping=(), fixed=(trial,), budget=Budget(trials=1, epochs=6))
        (other,) = load_summary(launch(again, results=tmp_path).folder).rows
        assert [p.value for p in other.curve] != [p.value for p in row.curve]


def test_fresh_seeds_train_the_schedule(folder, summary, tmp_path):
    row = adopters(summary)[0]
    with opened(folder) as reruns:
        found = reruns.fresh([reruns.summary.row(row.trial)], count=2).results[0]
    assert len({r.seed for r in found.runs} | {row.seed}) == 3
    for seeded in found.runs:
        told = steady(row, tmp_path, seeded.seed)
        assert seeded.objective == min(e.valid["rmse"] for e in told)


def test_another_budget_or_a_fixed_key_and_a_schedule(folder, summary):
    row = adopters(summary)[0]
    again = run("rerun", folder, "--trial", row.trial, "--seeds", 1, "--epochs", 9)
    refused(again, f"trial {row.trial} has a schedule of 6 epochs", "training of 9")
    rate = ("--set", "rate=0.5", "--format", "json")
    fixed = run("rerun", folder, "--trial", row.trial, "--seeds", 1, *rate)
    assert fixed.exit_code == 0, fixed.stderr
    place = max((folder / "reruns").glob("*/study.json"))
    (trial,) = Study.from_json(json.loads(place.read_text())["study"]).fixed
    assert trial.schedule == () and trial.params == {}


def test_people_are_told_donors_schedules_and_epochs(folder, summary):
    row = adopters(summary)[0]
    donors = [f"trial {e.donor} at epoch {e.epoch}" for e in row.exploits]
    table = run("results", folder, columns=200).stdout
    assert f"adopted {', '.join(donors)}" in table
    assert "→" in table
    shown = run("show", folder, row.trial, columns=200).stdout
    assert f"6 of 6, the first {row.exploits[-1].epoch} inherited: adopted" in shown
    assert "schedule" in shown and f"1…{row.schedule[0].after}" in shown
    records = json.loads(run("results", folder, "--format", "json").stdout)
    found = next(r for r in records if r["trial"] == row.trial)
    assert found["schedule"] == written(row.schedule)
    assert found["donors"][-1] == {
        "trial": row.exploits[-1].donor,
        "epoch": row.exploits[-1].epoch,
    }
    text = run("results", folder, "--format", "csv").stdout
    assert text.splitlines()[0].endswith("schedule,donors")
    other = next(r for r in summary.rows if not r.schedule)
    told = run("diff", folder, row.trial, other.trial, columns=200).stdout
    assert f"rate (after epoch {row.schedule[0].after})" in told
    assert importances(summary) != () and importances(summary)[0].trials == len(
        summary.rows
    ) - len(adopters(summary))


def test_of_many_adoptions_the_table_tells_the_first_and_the_last(summary):
    row = adopters(summary)[0]
    (first, *_), epochs = row.exploits, (2, 4, 6, 8)
    many = [structs.replace(first, epoch=e, donor=e + 1) for e in epochs]
    for count, told in (
        (3, "trial 3 at epoch 2, trial 5 at epoch 4, trial 7 at epoch 6"),
        (4, "trial 3 at epoch 2, …, trial 9 at epoch 8 (4 times)"),
    ):
        rows = (replace(row, exploits=tuple(many[:count])),)
        text = render(replace(summary, rows=rows), width=120)
        assert f"adopted {told}" in text
    (mine,) = rows
    assert all(f"trial {e + 1} at epoch {e}" in adopted(mine) for e in epochs)


def test_the_best_is_printed_with_its_schedule(folder, summary):
    found = run("best", folder)
    told = json.loads(found.stdout)
    best = summary.best
    assert told["rate"] == best.params["rate"]
    assert told.get("schedule", []) == written(best.schedule)
    assert best.schedule, "the seed is such that the winner has one"
    epochs = ", ".join(str(c.after) for c in best.schedule)
    assert f"from seed {best.seed}, whose values change after epoch {epochs}" in (
        found.stderr
    )


def test_a_promoted_schedule_gives_the_numbers_of_its_trial(folder, summary, tmp_path):
    best = summary.best
    asked = ("--name", "winner", "--into", tmp_path)
    made = run("promote", folder, "--rank", 1, *asked)
    assert made.exit_code == 0, made.stderr
    place = tmp_path / "winner.py"
    names = {"__name__": "winner"}
    exec(compile(place.read_text(), str(place), "exec"), names)
    promoted = names["STUDY"].replace(resources=LOCAL, stopping=())
    (again,) = load_summary(launch(promoted, results=tmp_path).folder).rows
    assert [p.value for p in again.curve] == [p.value for p in best.curve]
    assert again.schedule == best.schedule


@pytest.mark.slow
def test_exports_and_the_page_have_what_it_became(folder, tmp_path):
    page = run("report", folder)
    assert page.exit_code == 0, page.stderr
    assert "adopted trial" in (folder / "report" / "index.html").read_text()
    for target, name in (
        ("tensorboard", "events"),
        ("optuna", "run.db"),
        ("parquet", "run.parquet"),
    ):
        made = run("export", folder, "--to", target, "--out", tmp_path / name)
        assert made.exit_code == 0, made.stderr
    row = adopters(load_summary(folder))[0]
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(tmp_path / "run.parquet").to_pylist()
    (mine,) = [r for r in table if r["trial"] == row.trial]
    assert json.loads(mine["schedule"]) == written(row.schedule)
    storage = f"sqlite:///{tmp_path / 'run.db'}"
    (name,) = optuna.get_all_study_names(storage)
    told = optuna.load_study(study_name=name, storage=storage).trials
    (other,) = [t for t in told if t.user_attrs["trial"] == row.trial]
    assert json.loads(other.user_attrs["schedule"]) == written(row.schedule)
    assert other.user_attrs["adopted"].startswith("adopted trial")


def test_its_ledger_comes_out_the_same_again(folder):
    found = own.retrace(own.read(RunFolder(folder)))
    assert found.differing == ()
    assert found.decisions > 24 + 12


def test_finished_curves_cannot_be_searched_by_it(folder):
    record = own.read(RunFolder(folder))
    whole = record.whole("steady")
    assert all(not t.schedule for t in whole)
    assert record.left_out() == {"of changing values": 4 - len(whole)}
    with pytest.raises(StudyError, match="`pbt` cannot be simulated"):
        simulate(study(), own.as_recorded(record))
    again = run("simulate", "own_curves", "--stopping", "pbt")
    refused(again, "`pbt` cannot be simulated")


def test_more_trials_are_refused_and_more_time_is_not(folder, tmp_path):
    with pytest.raises(StudyError, match="trials of `pbt` are one population"):
        extended(folder, Extension(trials=4))
    short = study(budget=Budget(trials=4, epochs=6, total_epochs=13))
    outcome = launch(short, results=tmp_path)
    assert outcome.state == "time"
    longer = run("extend", outcome.folder, "--epochs-total", 24)
    assert longer.exit_code == 0, longer.stderr
    for number, row in {r.trial: r for r in load_summary(folder).rows}.items():
        other = load_summary(outcome.folder).row(number)
        assert [p.value for p in other.curve] == [p.value for p in row.curve]


def test_results_are_not_carried_over_and_configurations_are(folder, tmp_path):
    begins = WarmStart(run=str(folder), take="results")
    bigger = study(warm_start=(begins,), budget=Budget(trials=8, epochs=6))
    with pytest.raises(StudyError, match="adopted each other's states"):
        launch(bigger.replace(stopping=()), results=tmp_path)
    begins = WarmStart(run=str(folder), top=2)
    found = launch(
        study(warm_start=(begins,), stopping=(), budget=Budget(trials=3, epochs=1)),
        results=tmp_path,
    )
    notes = " ".join(load_summary(found.folder).notes)
    assert "is tried with the values of its first epoch" in notes


def test_a_lost_checkpoint_costs_time_alone(tmp_path, monkeypatch):
    """Whoever cannot adopt trains the schedule from its beginning: the same numbers."""
    from hpo.run import places

    def gone(self, trial):
        adopted = trial.exploits[-1]
        source = self._folder.attempt(adopted.donor, adopted.attempt)
        (source / "state.json").write_text("nothing")

    monkeypatch.setattr(places.Places, "keep_donor", gone)
    once = PBT.options | {"interval": 4}
    rule = Rule(name="pbt", options=once)
    whole = launch(study(stopping=(rule,)), results=tmp_path / "a").folder
    monkeypatch.undo()
    undisturbed = launch(study(stopping=(rule,)), results=tmp_path / "b").folder
    told = [load_summary(place) for place in (whole, undisturbed)]
    for row in told[1].rows:
        other = told[0].row(row.trial)
        assert [p.value for p in other.curve] == [p.value for p in row.curve]
    spent = [sum(len(n) for n in trained(f).values()) for f in (whole, undisturbed)]
    assert spent[1] == 24 < spent[0]
    notes = [note for row in told[0].rows for note in row.notes]
    assert any("starts at epoch 1" in note for note in notes)


@pytest.mark.slow
@pytest.mark.long  # a minute and a half; the decisions alone: test_stopping_pbt.py
def test_killed_at_every_event_nothing_else_comes_out(tmp_path):
    suite.check_population("local", tmp_path, moments=range(3, 60, 3))


def test_the_learner_of_the_suites_conforms(tmp_path):
    def create(values):
        place = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        place.mkdir()
        context = Context(seed=len(place.name), directory=place / "attempt-1")
        return Steady({"start": 1.0, "rate": 0.3, **values}, context)

    for name in ("donor", "other"):
        (tmp_path / name).mkdir()
    check_adoption(create, tmp_path, epochs=5, traced={"rate": 0.7})


# -- refused before the launch ------------------------------------------------------------


class Stubborn:
    """A learner that can do nothing but train."""

    def fit_iter(self, epochs):
        for number in range(1, epochs + 1):
            yield Epoch(number, {"loss": 1.0}, {"rmse": 1.0})


def create_stubborn(config, context):
    return Stubborn()


def refuses(a_study, rule, place, create=None):
    with pytest.raises(StudyError, match=rule):
        launch(a_study, results=place, create=create)
    assert not list(place.iterdir()), "nothing is made before"


def test_a_function_that_does_not_tell_is_refused_before_the_launch(tmp_path):
    silent = "family `{}`: `rate` would change .* does not tell which keys may"
    named = Family(name="x", space=SPACE, create=f"{__name__}:create_stubborn")
    refuses(study(families=(named,)), silent.format("x"), tmp_path)
    refuses(study(), silent.format("steady"), tmp_path, create_stubborn)


@pytest.mark.slow
def test_a_family_that_cannot_is_refused_before_the_launch(tmp_path):
    data = {"name": "mass_spring_damper", "samples": 1024}
    rate = FloatDistribution(1e-3, 1e-2)
    layers = {"model.layers": IntDistribution(1, 2), "optimizer.b1": 0.9}
    for name, space, rule in (
        (
            "rnn",
            {"optimizer.learning_rate": rate} | layers,
            "family `rnn`: `model.layers` would change .* it is static",
        ),
        ("rnn", {"optimizer.damping": rate}, "`optimizer.damping` would .* static"),
        (
            "greybox",
            {"physics.spread": rate, "optimizer.learning_rate": rate},
            "`physics.spread` would .* acts where training begins alone",
        ),
        (
            "linear",
            {"model.ridge": rate},
            "family `linear`: .* cannot go on from another one's state",
        ),
    ):
        families = (Family(name=name, space=space),)
        refuses(study(data=data, task="simulation", families=families), rule, tmp_path)
    family = Family(name="rnn", space={"optimizer.b1": 0.9})
    trial = FixedTrial(
        family="rnn",
        params={},
        seed=1,
        schedule=[{"after": 2, "traced": {"optimizer.b1": 1.5}}],
    )
    fixed = study(data=data, task="simulation", families=(family,), stopping=())
    with pytest.raises(ForeignFailure, match="`b1` .*1.5"):
        launch(fixed.replace(fixed=(trial,)), results=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_learner_that_promised_too_much_fails_by_name(tmp_path):
    def create(config, context):
        return Stubborn()

    create.traced = ("rate",)
    found = HPOptimizer(create).optimize(
        SPACE,
        n_epochs=4,
        trials=2,
        stopping=(PBT,),
        executor="local",
        results=tmp_path,
        quiet=True,
    )
    reasons = [row.reason for row in found.summary.rows if row.state == "failed"]
    assert reasons == [
        "a Stubborn has no `adopt(directory, traced)`, so that its values "
        "cannot change while it is trained"
    ]
    assert found.schedule == []


@pytest.mark.slow
def test_check_shows_the_population_and_refuses_a_static_value(tmp_path):
    place = tmp_path / "mine.py"
    space = (
        '{"optimizer.learning_rate": FloatDistribution(1e-3, 1e-2), "model.layers": %s}'
    )
    text = f"""
from optuna.distributions import FloatDistribution, IntDistribution
from hpo.study import Budget, Family, Rule, Study
STUDY = Study(
    name="mine", task="simulation",
    data={{"name": "mass_spring_damper", "samples": 1024}},
    families=(Family(name="rnn", space={space}),),
    budget=Budget(trials=8, epochs=12),
    stopping=(Rule(name="pbt", options={{"interval": 4}}),),
)
"""
    place.write_text(text % "1")
    shown = run("check", place, columns=120)
    assert shown.exit_code == 0, shown.stderr
    assert "population" in shown.stdout
    assert "rnn: 8 trials, optimizer.learning_rate changes in training" in shown.stdout
    assert "4, 8" in shown.stdout
    place.write_text(text % "IntDistribution(1, 2)")
    refused(run("check", place), "`model.layers` would change", "static")


# -- networks -----------------------------------------------------------------------------

RATE = "optimizer.learning_rate"


def networks():
    space = {
        RATE: FloatDistribution(1e-4, 3e-2, log=True),
        "model.dropout": FloatDistribution(0.0, 0.4),
        "model.hidden_size": 4,
        "model.layers": 2,
        "data.window": 40,
        "data.batch_size": 4,
        "data.batches": 3,
        "loss.n_skip": 5,
    }
    return Study(
        name="networks",
        families=(Family(name="rnn", space=space),),
        data={"name": "mass_spring_damper", "samples": 1024},
        task="simulation",
        budget=Budget(trials=3, epochs=6),
        stopping=(PBT,),
        resources=LOCAL,
        seed=1,
    )


@pytest.fixture(scope="module")
def trained_networks(tmp_path_factory):
    return launch(networks(), results=tmp_path_factory.mktemp("networks")).folder


@pytest.mark.slow
def test_after_an_exploit_the_new_rate_is_in_the_state(
    trained_networks, tmp_path, monkeypatch
):
    """In the checkpoint itself; TSFast's has the donor's rate again."""
    import numpy as np
    from safetensors.numpy import load_file

    whole = load_summary(trained_networks)
    rows = adopters(whole)
    assert rows
    for row in rows:
        now = values_in(row.params, row.schedule)
        donor = whole.row(row.exploits[-1].donor)
        assert now[RATE] != values_in(donor.params, donor.schedule)[RATE]
        run_folder = RunFolder(trained_networks)
        place = run_folder.attempt(row.trial, len(row.attempts))
        state = load_file(place / "checkpoint.safetensors")
        for key in (RATE, "model.dropout"):
            (name,) = [n for n in state if f"['{key}']" in n and "hyper" in n]
            assert state[name] == np.float32(now[key])
        model = load_model(trained_networks, row.trial)
        assert model.objective == row.objective
        assert model.schedule == row.schedule
        monkeypatch.setattr(packages, "write_model", lambda _, made, told, form: told)
        monkeypatch.setattr("os.replace", lambda made, out: None)
        about = export_model(model, tmp_path / "exported")
        assert about["schedule"] == written(row.schedule)
        assert about["config"][RATE] == row.params[RATE], "of the first epoch"


@pytest.mark.slow
def test_lineages_of_networks_repeat_in_every_epoch(trained_networks):
    with opened(trained_networks) as reruns:
        found = reruns.exact(list(reruns.summary.rows)).results
    assert [(e.equal, e.epochs) for e in found] == [(True, 6)] * 3
    row = adopters(load_summary(trained_networks))[0]
    model = load_model(trained_networks, row.trial)
    assert model.learner.evaluate("valid")["rmse"] == pytest.approx(row.objective)


@pytest.mark.slow
def test_ray_gives_the_same_population(trained_networks, tmp_path):
    ray = networks().replace(resources=Resources(executor="ray", workers=2))
    program = (
        "import sys; from hpo.run.launch import launch; from hpo.study import Study; "
        "import json; launch(Study.from_json(json.loads(sys.argv[1])), results=sys.argv[2])"
    )
    command = [sys.executable, "-c", program, json.dumps(ray.to_json()), str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=280)
    (other,) = (p.parent for p in tmp_path.glob("*/*/events.jsonl"))
    for row in load_summary(trained_networks).rows:
        again = load_summary(other).row(row.trial)
        assert [p.value for p in again.curve] == [p.value for p in row.curve]
        assert again.exploits == row.exploits
