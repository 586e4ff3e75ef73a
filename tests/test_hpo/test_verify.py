"""`hpo verify`: a good run passes, and whatever is changed in it is found by its line."""

from __future__ import annotations

import json
import shutil

import pytest

from hpo.audit import auditing, same
from hpo.audit.decided import Decisions
from hpo.audit.saved import _safetensors
from hpo.ledger.folder import RunFolder
from hpo.ledger.lines import from_line
from hpo.ledger.log import read_events
from hpo.run.launch import launch
from hpo.study import Budget, Resources, Rule
from hpo.trials.states import ENDINGS
from tests.test_hpo.command_line import run as hpo
from tests.test_hpo.seated import SeatedLoop
from tests.test_hpo.simulated import Killed, SimulatedLoop, study
from tests.test_hpo.test_recorded_run import RECORDED, RUN
from tests.test_hpo.test_stopping_pbt import population
from tests.test_hpo.test_virtual_order import RULES, Population
from tests.test_hpo.test_virtual_runs import study as real_study

RANDOM = Rule(name="random")
EIGHT = Resources(order="virtual:8")


def findings(a_study, events):
    return [*Decisions(a_study, events).findings()]


def renumbered(lines):
    """Events of lines that somebody edited with care."""
    return [
        from_line(json.dumps({**json.loads(line), "n": n}).encode())
        for n, line in enumerate(lines, 1)
    ]


# -- good ledgers ---------------------------------------------------------------------------


@pytest.mark.parametrize("rules", RULES, ids=lambda rules: rules[-1].name)
@pytest.mark.parametrize("order", ["arrival", "virtual:5"])
def test_a_good_ledger_passes(rules, order):
    """Any workers, deaths and kills, both orders, with and without a limit on epochs."""
    limited = Budget(trials=15, epochs=9, total_epochs=50)
    for budget, workers in ((Budget(trials=12, epochs=9), 3), (limited, 1)):
        a_study = study(
            stopping=rules,
            budget=budget,
            resources=Resources(order=order, workers=workers),
        )
        kind = SimulatedLoop if order == "arrival" else SeatedLoop
        options = {} if order == "arrival" else {"deaths": 0.05}
        loop = kind(a_study, workers=workers, **options)
        loop.ledger.last = 40
        with pytest.raises(Killed):
            loop.run()
        loop.resume()
        loop.run()
        assert not findings(a_study, loop.ledger.events)


def test_a_population_passes():
    a_study = population(trials=6, epochs=10).replace(resources=EIGHT)
    loop = Population(a_study, workers=3)
    loop.run()
    assert not findings(a_study, loop.ledger.events)


def test_a_run_of_before_passes(tmp_path, monkeypatch):
    """Recorded by an early version; the command says what it looked at."""
    shutil.copytree(RECORDED / "run", tmp_path / "results" / "recorded" / RUN)
    monkeypatch.chdir(tmp_path)
    done = hpo("verify", "latest")
    assert done.exit_code == 0, done.stderr
    assert "16: 7 completed" in done.stdout and "everything holds" in done.stderr


# -- damage ---------------------------------------------------------------------------------


def ledger(order, rules=RULES[0]):
    a_study = study(
        stopping=rules,
        sampler=RANDOM,
        budget=Budget(trials=8, epochs=9),
        resources=Resources(order=order, workers=2),
    )
    loop = (SimulatedLoop if order == "arrival" else SeatedLoop)(a_study, workers=2)
    loop.run()
    lines = [json.loads(line) for line in loop.ledger.lines]
    assert not findings(a_study, loop.ledger.events)
    return a_study, lines


@pytest.fixture(scope="module", params=["arrival", "virtual:4"])
def good(request):
    return ledger(request.param)


def changed(lines, place, **fields):
    edited = [dict(line) for line in lines]
    edited[place] |= fields
    return edited


def found_in(a_study, lines):
    return findings(a_study, renumbered(map(json.dumps, lines)))


def test_each_dropped_line_is_found(good):
    """With the lines behind it numbered anew; a checkpoint's line decides nothing."""
    a_study, lines = good
    for place, line in enumerate(lines[:-1]):
        if line["event"] == "checkpoint":
            continue
        found = found_in(a_study, lines[:place] + lines[place + 1 :])
        assert found, f"line {place + 1} ({line['event']}) is missed by nobody"
        assert found[0].line >= place + 1


def test_each_doubled_line_is_found(good):
    a_study, lines = good
    for place, line in enumerate(lines):
        if line["event"] in ("checkpoint",):
            continue
        found = found_in(a_study, lines[: place + 1] + lines[place:])
        assert found and found[0].line == place + 2, (place, line["event"], found)


def test_another_ending_is_found(good):
    """What a rule did not say, said otherwise, of another trial or another epoch."""
    a_study, lines = good
    tried = 0
    for place, line in enumerate(lines):
        if line["event"] not in ENDINGS:
            continue
        for other in ("completed", "stopped", "failed", "cancelled", "converged"):
            if other == line["event"]:
                continue
            edit = changed(lines, place, event=other, rule="asha", reason="so it is")
            found = found_in(a_study, edit)
            assert found and found[0].line == place + 1, (line, other)
            tried += 1
        if "rule" in line:
            found = found_in(a_study, changed(lines, place, rule="median"))
            assert found[0].line == place + 1
        found = found_in(a_study, changed(lines, place, epoch=line["epoch"] + 1))
        assert found[0].line == place + 1
    assert tried > 10


def test_another_proposal_is_found(good):
    a_study, lines = good
    for place, line in enumerate(lines):
        if line["event"] != "proposed":
            continue
        for field, value in (("seed", line["seed"] + 1), ("origin", "tpe")):
            found = found_in(a_study, changed(lines, place, **{field: value}))
            assert found[0].line == place + 1
        if "rate" in line["params"]:
            params = line["params"] | {"rate": line["params"]["rate"] * 1.001}
            found = found_in(a_study, changed(lines, place, params=params))
            assert found[0].line == place + 1


def test_a_value_that_decides_is_found(good):
    """A trial that was stopped at a rung would have gone on with the best value of all."""
    a_study, lines = good
    stopped = [i for i, x in enumerate(lines) if x["event"] == "stopped"]
    assert stopped
    for place in stopped:
        who, when = lines[place]["trial"], lines[place]["epoch"]
        at = next(
            i
            for i, x in enumerate(lines)
            if x["event"] == "epoch" and (x["trial"], x["epoch"]) == (who, when)
        )
        edited = changed(lines, at, valid={"rmse": -1.0, "fit": 0.0})
        assert found_in(a_study, edited)[0].line == place + 1


def test_epochs_out_of_turn_are_found():
    """In virtual order two neighbouring epochs of two trials have one order alone."""
    a_study, lines = ledger("virtual:4")
    tried = 0
    for place in range(len(lines) - 1):
        pair = lines[place : place + 2]
        if [x["event"] for x in pair] != ["epoch", "epoch"]:
            continue
        if pair[0]["trial"] == pair[1]["trial"]:
            continue
        edited = [*lines[:place], *reversed(pair), *lines[place + 2 :]]
        found = found_in(a_study, edited)
        assert found[0].line == place + 1 and "turn" in found[0].text
        tried += 1
    assert tried > 1


def test_a_third_retry_is_found():
    a_study, lines = ledger("virtual:4")
    place = next(i for i, x in enumerate(lines) if x["event"] == "started")
    trial, extra = lines[place]["trial"], []
    for attempt in (1, 2, 3):
        died = {**lines[place], "event": "interrupted", "attempt": attempt, "epoch": 0}
        del died["attempt_of"], died["from_attempt"]
        extra.append({**died, "reason": "died", "death": True})
        again = {"attempt": attempt + 1, "attempt_of": "retry", "from_attempt": None}
        extra.append({**lines[place], **again})
    rest = [
        {**x, "attempt": x["attempt"] + 3}
        if x["trial"] == trial and x["attempt"]
        else x
        for x in lines[place + 1 :]
    ]
    found = found_in(a_study, [*lines[: place + 1], *extra, *rest])
    assert [f.line for f in found] == [place + 6]
    assert "2 were before it" in found[0].text


# -- a run's folder -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A run in virtual order of two workers."""
    place = tmp_path_factory.mktemp("verified")
    return launch(real_study(2), results=place / "results").folder


@pytest.fixture
def copy(real, tmp_path):
    target = tmp_path / "results" / "seated" / real.name
    shutil.copytree(real, target)
    return target


def line_of(folder, kind, **fields):
    for event in read_events(folder / "events.jsonl")[0]:
        if event.event == kind and all(
            getattr(event, k) == v for k, v in fields.items()
        ):
            return event
    raise AssertionError(f"no {kind}")


def refused(folder, line, *words):
    done = hpo("verify", folder)
    assert done.exit_code == 3, (done.stdout, done.stderr)
    assert f"line {line}: " in done.stdout and "Traceback" not in done.stderr
    for word in words:
        assert word in done.stdout, done.stdout


def test_a_real_run_passes(copy):
    done = hpo("verify", copy)
    assert done.exit_code == 0, (done.stdout, done.stderr)
    found = auditing.audit(RunFolder(copy))
    assert found.findings == [] and found.remarks == []
    assert found.looked["checkpoints"].startswith("8 read")


def test_a_changed_number_is_found_beside_the_checkpoint(copy):
    """Though it changes no decision."""
    event = line_of(copy, "epoch", epoch=1)
    path = copy / "events.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    record = json.loads(lines[event.n - 1])
    record["train"]["loss"] += 1e-12
    lines[event.n - 1] = json.dumps(record) + "\n"
    path.write_text("".join(lines))
    refused(copy, event.n, "other numbers")


@pytest.mark.parametrize("name", ["epochs.json", "state.json"])
def test_a_truncated_checkpoint_is_found(copy, name):
    trial = line_of(copy, "completed").trial
    (place,) = (copy / "trials" / f"{trial:04d}").glob(f"attempt-*/{name}")
    attempt = int(place.parent.name.removeprefix("attempt-"))
    told = [
        e.n
        for e in read_events(copy / "events.jsonl")[0]
        if e.event == "checkpoint" and (e.trial, e.attempt) == (trial, attempt)
    ]
    place.write_bytes(place.read_bytes()[:-9])
    refused(copy, told[-1], name, "cannot be read")
    (place.parent / "saved").unlink()
    refused(copy, told[-1], "lacks `saved`")
    shutil.rmtree(place.parent)
    gone = hpo("verify", copy)
    assert (
        gone.exit_code == 0 and "1 of the best trials have no checkpoint" in gone.stderr
    )


def test_a_truncated_tensor_file_is_found(tmp_path):
    import numpy as np
    from safetensors.numpy import save

    file = tmp_path / "checkpoint.safetensors"
    content = save({"w": np.arange(12.0), "b": np.zeros(3)}, metadata={"json": "{}"})
    file.write_bytes(content)
    assert _safetensors(file) == ""
    for size in (0, 5, 30, len(content) - 1):
        file.write_bytes(content[:size])
        try:
            assert _safetensors(file)
        except ValueError:
            continue
    file.write_bytes(content + b"x")
    assert _safetensors(file)


@pytest.mark.parametrize("how", ["junk", "dropped", "swapped"])
def test_damaged_lines_are_found(copy, how):
    path = copy / "events.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    edited = {
        "junk": [*lines[:20], "{nothing}\n", *lines[21:]],
        "dropped": [*lines[:20], *lines[21:]],
        "swapped": [*lines[:20], lines[21], lines[20], *lines[22:]],
    }[how]
    path.write_text("".join(edited))
    refused(copy, 21, "cannot be read")


def test_a_torn_last_line_is_a_remark(copy):
    path = copy / "events.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    done = hpo("verify", copy)
    assert done.exit_code == 0 and "torn" in done.stderr
    assert "has not finished" in done.stderr


def test_no_run_is_refused_as_usual(tmp_path):
    done = hpo("verify", tmp_path / "nothing")
    assert done.exit_code == 1 and "Traceback" not in done.stderr


# -- one run against another ----------------------------------------------------------------


def test_same_as(copy, tmp_path):
    one = launch(real_study(1), results=tmp_path / "one").folder
    done = hpo("verify", copy, "--same-as", one)
    assert done.exit_code == 0, (done.stdout, done.stderr)
    assert "same as" in done.stdout
    other = launch(real_study(1, trials=7), results=tmp_path / "other").folder
    done = hpo("verify", copy, "--same-as", other)
    assert done.exit_code == 3 and "`budget` differs" in done.stdout
    seats = launch(real_study(1, order="virtual:3"), results=tmp_path / "3").folder
    done = hpo("verify", copy, "--same-as", seats)
    assert done.exit_code == 3 and "4 and 3 seats" in done.stdout


def test_the_first_difference_is_named(good):
    a_study, lines = good
    told = [*same.story(renumbered(map(json.dumps, lines)))]
    place = next(i for i, x in enumerate(lines) if x["event"] == "epoch")
    edited = changed(lines, place, valid={"rmse": 0.123, "fit": 0.0})
    others = [*same.story(renumbered(map(json.dumps, edited)))]
    assert [*same._sequences(told, told)] == []
    (found,) = same._sequences(told, others)
    assert found.line == place + 1 and "0.123" in found.text
    (shorter,) = same._sequences(told[:-1], told)
    assert "nothing follows" in shorter.text
