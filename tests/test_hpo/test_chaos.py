"""Faults on purpose: runs that have them end, verify, and are those that had none."""

from __future__ import annotations

import random
import signal
from collections import Counter
from dataclasses import replace

import pytest

from hpo.audit import auditing, same
from hpo.audit.decided import Decisions
from hpo.chaos import Chaos
from hpo.errors import StudyError
from hpo.ledger.folder import RunFolder
from hpo.run.launch import launch, resume
from hpo.study import Budget, Resources, Rule
from hpo.testing import drivers
from models.training.protocol import Epoch
from tests.test_hpo.chaotic import ChaoticLoop
from tests.test_hpo.command_line import refused
from tests.test_hpo.command_line import run as hpo
from tests.test_hpo.seated import SeatedLoop, decided
from tests.test_hpo.simulated import outcome, study
from tests.test_hpo.test_stopping_pbt import population
from tests.test_hpo.test_virtual_order import RULES
from tests.test_hpo.test_virtual_runs import events
from tests.test_hpo.test_virtual_runs import study as real_study

# -- what is asked for ------------------------------------------------------------------------


def test_it_is_read_and_written():
    text = "worker=0.05, node=0.02,node=2/5m,nan=0.05,hang=0.02,slow=0.1,"
    text += "disk-full@200,driver@120,driver@7"
    found = Chaos.parse(text, seed=7)
    assert found == Chaos(
        seed=7,
        worker=0.05,
        node=0.02,
        node_every=150.0,
        nan=0.05,
        hang=0.02,
        slow=0.1,
        disk_full=(200,),
        driver=(120, 7),
    )
    assert Chaos.from_json(found.to_json()) == found
    again, _, seed = str(found).partition(" with seed ")
    assert Chaos.parse(again, seed=int(seed)) == found


@pytest.mark.parametrize(
    "text,word",
    [
        ("", "names no fault"),
        ("worker", "'worker'"),
        ("worker@3", "'worker@3'"),
        ("worker=two", "from 0 to 1"),
        ("nan=1.5", "from 0 to 1"),
        ("hang=nan", "from 0 to 1"),
        ("driver=0.1", "'driver=0.1'"),
        ("driver@0", "from 1"),
        ("disk-full@x", "from 1"),
        ("flood=0.1", "'flood=0.1'"),
        ("node=0/60s", "a number of times"),
        ("node=1/soon", "takes a duration"),
        ("nan=1/60s", "from 0 to 1"),
    ],
)
def test_what_has_no_meaning_is_refused(text, word):
    with pytest.raises(StudyError) as caught:
        Chaos.parse(text)
    assert word in caught.value.message and caught.value.hint


def test_faults_follow_from_seed_trial_and_epoch():
    chaos = Chaos(seed=3, worker=0.3, node=0.2, nan=0.25, hang=0.1, slow=0.5)
    places = [(t, e) for t in range(1, 60) for e in range(1, 30)]
    for name, share in (("spoils", 0.25), ("hangs", 0.1), ("takes_node", 0.2)):
        hits = [getattr(chaos, name)(*place) for place in places]
        assert hits == [getattr(chaos, name)(*place) for place in places]
        assert abs(sum(hits) / len(hits) - share) < 0.03
        other = [getattr(replace(chaos, seed=4), name)(*place) for place in places]
        assert other != hits
    delays = [chaos.delay(*place) for place in places]
    assert 0.45 < sum(d > 0 for d in delays) / len(delays) < 0.55
    assert min(delays) >= 0 and max(delays) <= 1


def test_nodes_are_lost_once_in_each_stretch_of_time():
    chaos = Chaos(seed=3, node_every=10.0)
    seconds = [s / 10 for s in range(3000)]
    due = [chaos.nodes_due(s) for s in seconds]
    steps = [b - a for a, b in zip(due, due[1:], strict=False)]
    moments = [s for s, step in zip(seconds[1:], steps, strict=True) if step]
    assert due[0] == 0 and due[-1] in (29, 30) and set(steps) == {0, 1}
    assert [int((m - 0.1) // 10) for m in moments] == [*range(len(moments))]
    assert len({round(m % 10, 1) for m in moments}) > 10
    assert due != [replace(chaos, seed=4).nodes_due(s) for s in seconds]
    assert Chaos(seed=3).nodes_due(1e6) == 0


def test_a_trial_dies_twice_at_most():
    """However often it is tried: each death on purpose has an epoch of its own."""
    chaos = Chaos(seed=1, worker=0.4)
    counted = Counter()
    for trial in range(1, 200):
        deaths = 0
        while died := [e for e in range(1, 30) if chaos.dies(trial, e, deaths=deaths)]:
            assert len(died) == 1
            deaths += 1
        counted[deaths] += 1
    assert set(counted) == {2} or set(counted) == {1, 2}


def test_a_spoiled_epoch_keeps_its_training():
    chaos = Chaos(nan=1.0)
    epoch = chaos.spoiled(1, Epoch(2, {"loss": 0.5}, {"rmse": 0.25, "fit": 1.0}, 0.1))
    assert epoch.train == {"loss": 0.5} and epoch.seconds == 0.1
    assert all(v != v for v in epoch.valid.values()) and len(epoch.valid) == 2


# -- simulated runs ---------------------------------------------------------------------------


def one_simulated_run(number: int) -> Counter[str]:
    """A run drawn by its number: it ends, it verifies, and it is the undisturbed one."""
    chance = random.Random(number)
    seats = chance.choice((1, 2, 4, 8))
    limit = chance.choice((None, 50))
    a_study = study(
        seed=number % 10,
        stopping=chance.choice(RULES[:6]),
        sampler=Rule(name="random"),
        budget=Budget(trials=12, epochs=9, total_epochs=limit),
        resources=Resources(order=f"virtual:{seats}"),
    )
    spoiling = chance.random() < 0.5
    chaos = Chaos(
        seed=number,
        worker=chance.choice((0.0, 0.05, 0.3)),
        nan=0.05 * spoiling,
        hang=0.03 * spoiling,
        slow=0.1,
        disk_full=tuple(chance.sample(range(2, 150), chance.choice((0, 1, 3)))),
        driver=tuple(chance.sample(range(2, 150), chance.choice((0, 1, 3)))),
    )
    loop = ChaoticLoop(a_study, chaos, workers=chance.choice((1, 2, 3, 8)), seed=number)
    loop.to_the_end()
    found = [*Decisions(a_study, loop.ledger.events).findings()]
    assert not found, (number, found[0])
    # Deaths, delays and other drivers change nothing; NaN and stalls are the study's own then.
    alone = Chaos(seed=number, nan=chaos.nan, hang=chaos.hang)
    plain = ChaoticLoop(a_study, alone, workers=1, seed=0)
    plain.to_the_end()
    told = decided(loop.ledger.events), outcome(loop.director)
    assert told == (decided(plain.ledger.events), outcome(plain.director)), number
    if not spoiling:
        undisturbed = SeatedLoop(a_study)
        undisturbed.run()
        assert told == (
            decided(undisturbed.ledger.events),
            outcome(undisturbed.director),
        )
    deaths = sum(t.deaths for t in loop.director.trials.values())
    failed = sum(t.state == "failed" for t in loop.director.trials.values())
    return Counter(deaths=deaths, resumes=loop.drivers - 1, stalls=failed)


def test_simulated_runs():
    seen = sum((one_simulated_run(n) for n in range(40)), Counter())
    assert seen["deaths"] > 50 and seen["resumes"] > 40 and seen["stalls"] > 5


@pytest.mark.long
@pytest.mark.parametrize("hundred", range(20))
def test_two_thousand_simulated_runs(hundred):
    runs = range(100 * hundred, 100 * hundred + 100)
    seen = sum((one_simulated_run(n) for n in runs), Counter())
    print(dict(seen))
    assert seen["deaths"] > 100 and seen["resumes"] > 80 and seen["stalls"] > 10


# -- real runs --------------------------------------------------------------------------------


def real_run(place, number, chaos, *, workers, order):
    """Launched with faults, resumed until it has ended; drivers that were killed are counted."""
    a_study = real_study(workers, order=order)
    a_study = a_study.replace(
        seed=number,
        stopping=(Rule(name="divergence"), Rule(name="asha")),
        resources=replace(a_study.resources, stall=2.0),
    )
    driver = drivers.start(place, a_study, chaos=chaos)
    ended = 0
    try:
        for _ in range(20):
            driver.process.communicate(timeout=200)
            status = driver.process.returncode
            folder = driver.folder
            if status == 0:
                break
            assert status in (1, -signal.SIGKILL), status
            ended += 1
            driver.end()
            driver = drivers.start(place, resume=folder)
        assert status == 0
    finally:
        driver.end()
    return a_study, folder, ended


def check_real_run(place, number, *, spoiling):
    """A run in virtual order of two workers, or in arrival order of one."""
    workers, order = ((2, "virtual:4"), (1, "arrival"))[number % 2]
    chance = random.Random(number)
    chaos = Chaos(
        seed=number,
        worker=0.05,
        slow=0.1,
        nan=0.05 * spoiling,
        hang=0.02 * spoiling,
        disk_full=(chance.randrange(8, 60),),
        driver=(chance.randrange(8, 60),),
    )
    place.mkdir(exist_ok=True)
    a_study, run, ended = real_run(
        place / "chaos", number, chaos, workers=workers, order=order
    )
    found = auditing.audit(RunFolder(run))
    assert not found.findings and not found.remarks, found
    if not spoiling:
        plain = launch(a_study, results=place / "plain").folder
        count, different = same.compare(RunFolder(run), RunFolder(plain))
        assert count > 25 and not different, different
    kinds = Counter(e.event for e in events(run))
    notes = [e.text for e in events(run) if e.event == "note"]
    assert sum(text.startswith("faults on purpose") for text in notes) == 1 + ended
    return ended, kinds


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_a_real_run(tmp_path, number):
    ended, _ = check_real_run(tmp_path, number, spoiling=False)
    assert ended == 2, "one driver is killed, one finds the disk full"


@pytest.mark.slow
def test_a_real_run_with_spoiled_and_hanging_epochs(tmp_path):
    chaos = Chaos(seed=2, nan=0.05, hang=0.1)
    a_study, run, ended = real_run(tmp_path, 2, chaos, workers=2, order="virtual:4")
    assert ended == 0
    found = auditing.audit(RunFolder(run))
    assert not found.findings
    told = events(run)
    spoiled = {
        (e.trial, e.epoch)
        for e in told
        if e.event == "epoch" and e.valid["rmse"] != e.valid["rmse"]
    }
    assert spoiled and all(chaos.spoils(*place) for place in spoiled)
    stalled = {(e.trial, e.epoch + 1) for e in told if e.event == "failed"}
    assert stalled and all(chaos.hangs(*place) for place in stalled)
    notes = [e.text for e in told if e.event == "note" and e.trial]
    assert sum("on purpose" in text for text in notes) >= len(spoiled)


@pytest.mark.long
@pytest.mark.parametrize("number", range(20))
def test_twenty_real_runs(tmp_path, number):
    check_real_run(tmp_path, number, spoiling=number % 4 >= 2)


def test_spoiled_epochs_are_refused_where_trials_adopt_them(tmp_path):
    a_study = population(trials=4, epochs=6)
    with pytest.raises(StudyError, match="take over epochs"):
        launch(a_study, results=tmp_path, chaos=Chaos(nan=0.1))
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("executor", ["local", "ray"])
def test_nodes_are_taken_away_on_a_cluster_only(tmp_path, executor):
    a_study = real_study(1, trials=2)
    a_study = a_study.replace(resources=replace(a_study.resources, executor=executor))
    for chaos, text in (
        (Chaos(node=0.1), "node=0.1"),
        (Chaos(node_every=60), "node=1/60s"),
    ):
        with pytest.raises(StudyError, match=text) as told:
            launch(a_study, results=tmp_path, chaos=chaos)
    assert "--address" in told.value.hint and not [*tmp_path.iterdir()]


def test_a_resume_goes_on_with_the_faults_of_the_launch(tmp_path):
    """They are in `study.json`; a finished run is left as it is."""
    chaos = Chaos(seed=5, nan=0.2)
    a_study = real_study(1, trials=2, order="arrival")
    folder = launch(a_study, results=tmp_path, chaos=chaos).folder
    assert Chaos.from_json(RunFolder(folder).read_study()["chaos"]) == chaos
    assert resume(folder).state == "finished"


def test_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(hpo("launch", "quickstart", "--chaos", "flood=1"), "'flood=1'", "hint")
    refused(hpo("launch", "quickstart", "--chaos-seed", 3), "--chaos-seed 3")
    both = hpo("launch", "quickstart", "--chaos", "nan=1", "--repeat", 2)
    refused(both, "`--repeat`")
    assert not (tmp_path / "results").exists()
