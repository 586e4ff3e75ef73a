"""The comparison of the study `tanks_pbt`: what is equal, what is printed, and that it goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scipy import stats

from hpo.ledger.folder import RunFolder
from hpo.report.summary import load_summary
from hpo.study import Resources
from studies import tanks_pbt

TESTS = {
    "pbt": {0: 0.021, 1: 0.022, 2: 0.0205},
    "asha": {2: 0.0215, 0: 0.0225, 1: 0.0221},
}


def test_both_search_the_same_space_with_as_many_epochs():
    pbt, asha = (tanks_pbt.searched(method, 7) for method in tanks_pbt.METHODS)
    assert pbt.families == asha.families
    assert (pbt.data, pbt.task, pbt.seed) == (asha.data, asha.task, asha.seed)
    assert (pbt.sampler, pbt.sampler.name) == (asha.sampler, "random")
    assert pbt.budget.trials * pbt.budget.epochs == asha.budget.total_epochs
    assert [rule.name for rule in pbt.stopping] == ["pbt"]
    assert [rule.name for rule in asha.stopping] == ["divergence", "asha"]


def test_the_difference_is_told_with_its_interval():
    pbt, asha = ([TESTS[m][seed] for seed in (0, 1, 2)] for m in tanks_pbt.METHODS)
    found = stats.ttest_rel(pbt, asha).confidence_interval(0.95)
    pair = tanks_pbt.compared(TESTS)
    assert (pair.low, pair.high) == pytest.approx((found.low, found.high))
    *_, last = tanks_pbt.told(TESTS)
    assert last == (
        f"pbt - asha = {1e3 * pair.mean:+.2f} mV [{1e3 * found.low:+.2f}, "
        f"{1e3 * found.high:+.2f}], 3 pairs, sign-flip p = 0.250"
    )
    with pytest.raises(ValueError, match=r"other half: \[2\]"):
        tanks_pbt.compared({**TESTS, "pbt": {0: 0.1, 1: 0.1}})


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_tiny_searches_are_compared_and_not_trained_twice(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(tanks_pbt, "TRIALS", 4)
    monkeypatch.setattr(tanks_pbt, "EPOCHS", 6)
    tiny = tanks_pbt.STUDY.replace(
        data={"name": "simulated_cascaded_tanks", "samples": 2048, "noise": 0.00963},
        budget=replace(tanks_pbt.STUDY.budget, trials=4, epochs=6),
        families=tuple(
            replace(f, space=f.space.replace({"data.batches": 2}))
            for f in tanks_pbt.STUDY.families
        ),
    )
    monkeypatch.setattr(tanks_pbt, "STUDY", tiny)
    local = Resources(executor="local", workers=1)
    found = tanks_pbt.compare(tmp_path, range(1), resources=local)
    assert {m: sorted(values) for m, values in found.items()} == {
        "pbt": [0],
        "asha": [0],
    }
    assert all(v > 0 for values in found.values() for v in values.values())
    for method in tanks_pbt.METHODS:
        for run in RunFolder.list(tmp_path, f"tanks_by_{method}"):
            assert sum(r.epochs for r in load_summary(run.path).rows) == 24
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("events.jsonl")}
    assert len(before) == 3
    assert tanks_pbt.compare(tmp_path, range(1), resources=local) == found
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("events.jsonl")} == before
    assert "seed 0,  pbt: 24 epochs of 4 trials" in capsys.readouterr().out
