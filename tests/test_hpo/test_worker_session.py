"""A session: what learners may yield, checkpoints behind and ahead, errors as data."""

from __future__ import annotations

import errno
import importlib
import importlib.util
import itertools
import json
import math
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import run_helpers as helpers

from hpo.errors import ForeignFailure
from hpo.schedule import Change
from hpo.testing.steady import Steady
from hpo.worker import epochs, pickling
from hpo.worker.evaluation import Evaluation
from hpo.worker.session import Assignment, Session, has_checkpoint
from models.training.protocol import Epoch

sys.path.pop(0)

CONFIG = {"rate": 0.3, "size": 2, "start": 1.0}


def session(folder, *, create=helpers.create, config=CONFIG, **changes):
    assignment = Assignment(
        trial=1,
        attempt=changes.pop("attempt", 1),
        family="steady",
        create=pickling.pack(create),
        config=config,
        seed=5,
        epochs=changes.pop("epochs", 6),
        folder=Path(folder),
        **changes,
    )
    return Session(assignment)


def steps(session, count):
    return [session.step() for _ in range(count)]


def values(reports):
    return [(r.epoch.number, repr(dict(r.epoch.valid))) for r in reports]


@pytest.fixture
def whole(tmp_path):
    return values(steps(session(tmp_path / "whole"), 6))


def trained(folder):
    return [
        int(x.split()[0]) for x in (folder / "trained.txt").read_text().splitlines()
    ]


@pytest.mark.parametrize(
    ("thing", "expected"),
    [
        (
            Epoch(4, {"loss": 1}, {"rmse": 2}, 3, 4),
            Epoch(4, {"loss": 1.0}, {"rmse": 2.0}, 3.0, 4.0),
        ),
        ({"rmse": 0.5}, Epoch(4, {}, {"rmse": 0.5})),
        (
            {"epoch": 9, "train_loss": 1, "valid_loss": 2, "rmse": 3, "seconds": 5},
            Epoch(9, {"loss": 1.0}, {"valid_loss": 2.0, "loss": 2.0, "rmse": 3.0}, 5.0),
        ),
        (
            helpers.Progress(7, 1.0, 2.0, {"rmse": math.inf}),
            Epoch(7, {"loss": 1.0}, {"loss": 2.0, "rmse": math.inf}),
        ),
        (helpers.Progress(7, None, 2.0, None), Epoch(7, {}, {"loss": 2.0})),
    ],
)
def test_what_a_learner_may_yield(thing, expected):
    assert epochs.as_epoch(thing, 4) == expected


@pytest.mark.parametrize(
    "thing", [3.0, None, {"rmse": "good"}, {"rmse": 1.0, "epoch": 1.5}]
)
def test_what_it_may_not_yield(thing):
    with pytest.raises(ForeignFailure):
        epochs.as_epoch(thing, 1)


def test_records_survive_their_file_to_the_last_bit(tmp_path):
    records = {
        n: Epoch(n, {"loss": v}, {"rmse": -v, "nan": math.nan}, v, 0.0)
        for n, v in enumerate([1 / 3, math.inf, 5e-324, 0.1 + 0.2], 1)
    }
    epochs.write(tmp_path, records)
    assert repr(epochs.read(tmp_path)) == repr(records)


def test_checkpoint_behind_the_ledger_trains_again_and_reports_it(tmp_path, whole):
    """Saved at rung 2, known up to 4: epochs 3 and 4 come again, 1 and 2 do not."""
    first = session(tmp_path, rungs=(2,))
    assert [r.checkpoint for r in steps(first, 4)] == [None, 2, None, None]
    second = session(tmp_path, attempt=2, restore=1, known=4)
    reports = steps(second, 4)
    assert values(reports) == whole[2:]
    assert reports[0].resumed_from == 2
    assert trained(tmp_path) == [1, 2, 3, 4, 3, 4, 5, 6]


def test_checkpoint_ahead_of_the_ledger_reports_what_it_carries(tmp_path, whole):
    """Saved at 4, the ledger knows 1: epochs 2 to 4 are reported without training."""
    steps(session(tmp_path, rungs=(4,)), 4)
    assert (
        values(steps(session(tmp_path, attempt=2, restore=1, known=1), 5)) == whole[1:]
    )
    assert trained(tmp_path) == [1, 2, 3, 4, 5, 6]


def test_a_foreign_learner_that_yields_no_old_records_loses_none(tmp_path, whole):
    class Forgetful(helpers.Steady):
        def restore(self, directory):
            super().restore(directory)
            self.epochs = []

    def make(config, context):
        return Forgetful(config, context)

    steps(session(tmp_path, create=make, rungs=(4,)), 4)
    second = session(tmp_path, create=make, attempt=2, restore=1, known=1)
    assert values(steps(second, 5)) == whole[1:]
    assert trained(tmp_path) == [1, 2, 3, 4, 5, 6]


def test_an_unreadable_checkpoint_starts_afresh_and_says_so(tmp_path, whole):
    steps(session(tmp_path, rungs=(4,)), 4)
    (tmp_path / "attempt-1" / "state.json").write_text("{")
    reports = steps(session(tmp_path, attempt=2, restore=1, known=4), 6)
    assert values(reports) == whole
    assert "starts at epoch 1: the checkpoint of attempt 1" in reports[0].notes[0]


def test_without_save_a_retry_starts_at_epoch_one_and_says_so(tmp_path):
    make = helpers.create_foreign
    reports = steps(session(tmp_path, create=make), 2)
    assert not reports[0].resumable and reports[1].checkpoint is None
    again = session(tmp_path, create=make, attempt=2, known=2).step()
    assert again.epoch.number == 1 and "starts at epoch 1" in again.notes[0]


def test_saved_before_five_seconds_of_training_can_be_lost(tmp_path, monkeypatch):
    clock = itertools.count(step=2)  # read before and after: each epoch takes 2 s
    monkeypatch.setattr("hpo.worker.session.time.perf_counter", lambda: next(clock))

    class Slow:
        done = 0

        def fit_iter(self, epochs):
            for self.done in range(1, epochs + 1):
                yield {"rmse": 1.0}

        def save(self, directory):
            (directory / "done").write_text(str(self.done))

        def restore(self, directory):
            raise NotImplementedError

    reports = steps(
        session(tmp_path, create=lambda c, x: Slow(), epochs=9, checkpoint_seconds=5.0),
        9,
    )
    saved = [0, *(r.checkpoint for r in reports if r.checkpoint)]
    gaps = [b - a for a, b in zip(saved, saved[1:], strict=False)]
    assert saved[-1] == 9 and all(gap * 2.0 <= 5.0 for gap in gaps), saved


def test_stop_file_asks_for_a_checkpoint(tmp_path):
    flag = tmp_path / "stopping"
    current = session(tmp_path / "t", stopping=flag)
    assert current.step().checkpoint is None
    flag.touch()
    assert current.step().checkpoint == 2


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("raise", "ValueError: this configuration cannot work"),
        ("exit", "the code called sys.exit(7)"),
    ],
)
def test_errors_come_back_as_data(tmp_path, trouble, reason):
    report = steps(session(tmp_path, config={**CONFIG, "trouble": trouble}), 3)[-1]
    assert report.epoch is None and report.reason == reason
    assert "misbehave" in report.error  # the traceback shows whose code it was


def test_a_mistake_of_a_person_is_a_message(tmp_path):
    report = session(tmp_path, create=lambda c, x: object()).step()
    assert report.error.startswith("`create` returned a object without `fit_iter`")
    assert "Traceback" not in report.error


def test_close_saves_what_is_not_saved(tmp_path, whole):
    current = session(tmp_path)
    steps(current, 3)
    current.close()
    rest = steps(session(tmp_path, attempt=2, restore=1, known=3), 3)
    assert values(rest) == whole[3:]
    assert trained(tmp_path) == [1, 2, 3, 4, 5, 6]


def test_settings_reach_a_create_without_a_config_and_config_json_says_what_ran(
    tmp_path,
):
    report = session(tmp_path, settings={"rate": 0.9, "extra": 3}).step()
    assert (
        report.parameters == 2
    )  # `size` of the space; settings do not overrule a trial
    content = json.loads((tmp_path / "config.json").read_text())
    assert content["config"] == {**CONFIG, "extra": 3, "default": "kept"}
    assert content["seed"] == 5 and content["create"] is None


def test_epochs_out_of_order_are_refused(tmp_path):
    class Wrong:
        def fit_iter(self, epochs):
            yield Epoch(2)
            yield Epoch(2)

    current = session(tmp_path, create=lambda c, x: Wrong())
    current.step()
    assert "epoch 2 after epoch 2" in current.step().error


def test_names_that_lead_nowhere():
    assert pickling.can_be_found("hpo.worker.pickling:pack")
    for name in ("no_such:create", "__main__:create", "hpo.study:f.<locals>.g", "hpo"):
        assert not pickling.can_be_found(name)
    with pytest.raises(ForeignFailure, match="cannot be found"):
        pickling.unpack("hpo.study:no_such_function")


def test_a_module_that_only_this_process_can_find_travels_by_value(
    tmp_path, monkeypatch
):
    """A finder that was added here is of no use to a worker."""

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name != "found_here_only":
                return None
            return importlib.util.spec_from_file_location(name, tmp_path / "own.py")

    (tmp_path / "own.py").write_text("def create(config, context):\n    return 7\n")
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    module = importlib.import_module("found_here_only")
    assert not pickling.can_be_found("found_here_only:create")
    blob = pickling.pack(module.create)
    monkeypatch.undo()
    del sys.modules["found_here_only"]
    assert pickling.unpack(blob)({}, None) == 7


def test_settings_that_a_family_does_not_know_are_left_out(tmp_path, monkeypatch):
    module = types.ModuleType("family_with_config")

    class Config:
        @classmethod
        def keys(cls):
            return ("rate", "size", "start", "pause")

    def create(config, context):
        assert "hidden" not in config and config["pause"] == 0.0
        return helpers.Steady(config, context)

    module.Config, module.create = Config, create
    create.__module__, create.__qualname__ = module.__name__, "create"
    monkeypatch.setitem(sys.modules, module.__name__, module)
    settings = {"hidden": 3, "pause": 0.0}
    report = session(
        tmp_path, settings=settings, create="family_with_config:create"
    ).step()
    assert report.error is None


# -- a save that is cut off -------------------------------------------------------------------

CHANGING = (Change(after=3, traced={"rate": 0.8}),)


@pytest.fixture
def cut_off(monkeypatch):
    """The disk is full, or the process ends, while the state behind epoch 3 is written."""

    def begin(error):
        save = Steady.save

        def fail(self, directory):
            if self.done == 3:
                raise error
            save(self, directory)

        monkeypatch.setattr(Steady, "save", fail)

    yield begin
    monkeypatch.undo()


FULL = OSError(errno.ENOSPC, "No space left on device")


def told(report):
    return report.obstacle, report.reason, report.notes


def test_values_that_change_at_a_save_that_was_cut_off_change_there(
    tmp_path, cut_off, monkeypatch
):
    often = {"schedule": CHANGING, "checkpoint_seconds": 0.0}
    wanted = values(steps(session(tmp_path / "whole", **often), 6))
    cut_off(FULL)
    *_, last = steps(session(tmp_path, **often), 3)
    assert last.obstacle
    monkeypatch.undo()
    assert epochs.reached(tmp_path / "attempt-1") is None
    again = session(tmp_path, attempt=2, restore=1, known=2, **often)
    reports = steps(again, 6)
    assert values(reports) == wanted
    assert "was being saved when its process ended" in reports[0].notes[0]


def test_without_changes_the_learner_knows_what_it_holds(
    tmp_path, cut_off, monkeypatch, whole
):
    cut_off(FULL)
    *_, last = steps(session(tmp_path, checkpoint_seconds=0.0), 3)
    assert last.obstacle
    monkeypatch.undo()
    reports = steps(session(tmp_path, attempt=2, restore=1, known=2), 4)
    assert values(reports) == whole[2:]


def test_a_mark_tells_the_epoch_and_an_older_one_does_not(tmp_path):
    first = session(tmp_path, rungs=(2, 4))
    place = tmp_path / "attempt-1"
    for number, reached in ((1, 2), (2, 2), (3, 4), (4, 4)):
        first.step()
        if number % 2 == 0:
            assert epochs.reached(place) == reached
    (place / epochs.SAVED).write_text("")  # as versions before wrote it
    assert epochs.reached(place) == 4
    epochs.begin_save(place)
    assert epochs.reached(place) is None and has_checkpoint(place)


def test_the_state_of_a_save_that_was_cut_off_is_not_scored(
    tmp_path, cut_off, monkeypatch
):
    """The ledger knows three epochs, the state may be of the second: it is trained again."""
    found = {}
    for name in ("whole", "cut"):
        training = session(tmp_path / name, rungs=(2,))
        steps(training, 3)
        if name == "cut":
            cut_off(SystemExit())
        training.close()
        monkeypatch.undo()
        found[name] = Evaluation(
            replace(training.assignment, known=3, restore=1, evaluate="test")
        ).step()
    assert epochs.reached(tmp_path / "cut" / "attempt-1") is None
    assert found["cut"].scores == found["whole"].scores
