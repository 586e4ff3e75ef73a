"""The sentences of a confirmation: golden files, and numbers that scipy gives."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from optuna.distributions import FloatDistribution
from scipy import stats

from hpo.confirmation import sentences, text
from hpo.confirmation.judging import Sample, chosen, judged, located
from hpo.confirmation.reach import missing, within_reach
from hpo.confirmation.record import Candidate, Confirmation, Verdict, Winner
from hpo.confirmation.stages import Stage
from hpo.confirmation.winners import choice, contender, settled
from hpo.ledger.folder import RunFolder
from hpo.objective import Matters, Objective
from hpo.report.verdicts import Seeded
from hpo.statistics.means import mean_interval
from hpo.study import Budget, Family, Study
from tests.test_hpo import sample_run

RUN = Path("results/pump/20260131-101500-1a2b3c4d")
RMSE = Objective(metric="rmse", unit="V")
# family: centre in V, relative spread, trials, epochs, seconds, failed seeds
FAMILIES = {
    "crnn": (0.0190, 0.02, 16, 480, 640.0, 0),
    "rnn": (0.0204, 0.10, 16, 470, 420.0, 0),
    "tcn": (0.0260, 0.03, 16, 455, 90.0, 0),
    "linear": (0.0261, 0.0, 1, 1, 0.2, 0),
    "pirnn": (0.0400, 0.05, 16, 480, 900.0, 2),
}


def seeded(number, value, *, error=""):
    return Seeded(
        seed=number,
        objective=value,
        best_epoch=30,
        epochs=30,
        seconds=2.0,
        test=None if error else {"rmse": 1.8 * value},
        error=error,
    )


def winner(place, name, *, counts=(10,)):
    centre, spread, trials, epochs, seconds, failed = FAMILIES[name]
    random = np.random.default_rng(place)
    total = sum(counts)
    values = (centre * np.exp(spread * random.standard_normal(total))).tolist()
    seeds = tuple(
        seeded(i, v, error="diverged at epoch 3" if i < failed else "")
        for i, v in enumerate(values)
    )
    good = [s.objective for s in seeds if not s.error]
    valid, search = mean_interval(good), 0.96 * centre
    gap = replace(
        valid,
        mean=valid.mean - search,
        low=valid.low - search,
        high=valid.high - search,
    )
    tried = Candidate(trial=place, rank=place, search=search, values=(), chosen=True)
    return Winner(
        run=RUN,
        trial=place,
        rank=place,
        params={},
        search=search,
        candidates=(tried,),
        seeds=seeds,
        looks=tuple(look for look, n in enumerate(counts, 1) for _ in range(n)),
        folders=(RUN,),
        valid=valid,
        test=mean_interval([1.8 * v for v in good]),
        optimism=gap,
        expected_optimism=0.001,
        parameters=1000 * place,
        trials=trials,
        epochs=epochs,
        seconds=seconds,
    )


def confirmation(names=tuple(FAMILIES), *, objective=RMSE, **changes):
    families = tuple(
        Family(name=n, space={"rate": FloatDistribution(0, 1)}) for n in names
    )
    study = Study(
        name="pump",
        families=families,
        objectives=(objective,),
        budget=Budget(trials=16, epochs=30),
    )
    plain = Confirmation(
        folder=RUN,
        study=study,
        runs=(RUN,),
        part="test",
        unit_of="seed",
        contenders=(),
        missing={},
        pairs=(),
        matters=Matters.parse("5%"),
        changed="",
        grown=0,
        look=1,
        reads=0,
        finished=True,
        stage="",
        unequal=False,
    )
    counts = changes.pop("counts", (10,))
    winners = [winner(i, n, counts=counts) for i, n in enumerate(names, 1)]
    units = {
        n: [None if s.error else s.test["rmse"] for s in w.seeds]
        for n, w in zip(names, winners, strict=True)
    }
    contenders = [
        contender(n, (w,), units[n]) for n, w in zip(names, winners, strict=True)
    ]
    when = {n: w.looks for n, w in zip(names, winners, strict=True)}
    return settled(replace(plain, **changes), contenders, units, when)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_golden_confirmation(width):
    shown = text.render(confirmation(reads=2), width=width).plain
    assert max(map(len, shown.splitlines())) <= width
    sample_run.check_golden(f"confirm-{width}.txt", shown + "\n")


@pytest.mark.parametrize("width", [80, 200])
def test_the_golden_second_look(width):
    found = confirmation(
        ("crnn", "rnn"),
        counts=(10, 20),
        look=2,
        grown=3,
        changed="5% mattered at the first look, 2% does now",
        matters=Matters.parse("2%"),
        missing={"tcn": "none of its 16 trials is ranked"},
    )
    shown = text.render(found, width=width).plain
    sample_run.check_golden(f"confirm-look-2-{width}.txt", shown + "\n")


def test_the_words_carry_scipys_numbers():
    found = confirmation(("crnn", "tcn"))
    (pair,) = found.pairs
    sentence = sentences.verdict_sentence(found, pair)
    a, b = (np.log(c.values) for c in found.contenders)
    span = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.96)
    expected = [
        100 * (1 - np.exp(v)) for v in (a.mean() - b.mean(), span.high, span.low)
    ]
    told = [float(x) for x in re.findall(r"-?\d+\.\d", sentence)[:3]]
    assert told == pytest.approx(expected, abs=0.051)
    assert sentence.startswith("crnn is better than tcn, by enough to matter:")
    assert "crnn wins 100 of 100 pairs of seeds" in sentence


def test_seeds_out_of_reach_are_not_asked_for(monkeypatch):
    """Half of a family's seeds stick: to settle it takes 50 times what is there, and more."""
    monkeypatch.setitem(FAMILIES, "sticky", (0.02, 0.8, 16, 480, 900.0, 0))
    found = confirmation(("crnn", "rnn", "sticky"))
    pairs = {frozenset((p.a, p.b)): p for p in found.pairs}
    near, far = pairs[frozenset(("crnn", "rnn"))], pairs[frozenset(("rnn", "sticky"))]
    assert far.verdict is near.verdict is Verdict.UNDECIDED
    assert near.needed <= 50 * 10 < far.needed
    assert within_reach(found, near) and not within_reach(found, far)
    assert sentences.verdict_sentence(found, far).startswith(
        f"{far.a} and {far.b}: undecided: the seeds of sticky vary so much that 50 times "
        "as many would not settle it: rmse of "
    )
    assert f"{far.needed:,}" not in sentences.verdict_sentence(found, far)
    assert missing(found) == near.needed - 10, "the pair in reach is still worth it"
    alone = confirmation(("rnn", "sticky"))
    assert missing(alone) == 0
    assert within_reach(found, replace(far, needed=500)), "at the very bound"
    assert not within_reach(found, replace(far, needed=501))
    group = replace(found, unit_of="search")
    assert "the searches of sticky vary so much that 50 times as many" in (
        sentences.verdict_sentence(group, far)
    )


def test_a_search_of_a_group_points_to_the_group():
    alone = confirmation(("crnn", "tcn"))
    assert "`hpo launch pump --repeat 5`" in sentences.about(alone)[0]
    one = replace(alone, group="20260131-101500-1a2b3c4d-x5")
    assert "`hpo confirm 20260131-101500-1a2b3c4d-x5`" in sentences.about(one)[0]
    assert "launch" not in sentences.about(one)[0]


def test_a_winner_beyond_a_limit_says_so():
    found = confirmation()
    assert not any("limit" in line for line in sentences.about(found))
    first, *others = found.contenders
    beyond = replace(first.winner, beyond=("parameters 9000 is beyond 1000",))
    one = replace(first, winners=(beyond,))
    lines = sentences.about(replace(found, contenders=(one, *others)))
    told = f"Beyond a limit is trial {beyond.trial} of {one.family}: "
    assert f"{told}parameters 9000 is beyond 1000." in lines
    several = replace(first, winners=(first.winner, beyond))
    lines = sentences.about(replace(found, contenders=(several, *others)))
    assert sum(f"in {RUN.name}: " in line for line in lines) == 1


def test_headlines_say_who_and_how_surely():
    assert sentences.headline(confirmation(("crnn", "tcn"))) == (
        "crnn is better than tcn, by enough to matter."
    )
    assert "undecided" in sentences.headline(confirmation(("crnn", "rnn")))
    one = sentences.headline(confirmation(("crnn",)))
    assert "nobody to compare" in one
    open_ = confirmation(("crnn", "tcn"), look=0, stage="confirm", finished=False)
    assert sentences.headline(open_).startswith("Nothing is settled")
    assert not open_.pairs


def test_a_difference_in_the_unit_is_told_in_it():
    fit = Objective(metric="fit", direction="maximize", unit="%")
    random = np.random.default_rng(0)
    samples = [
        Sample(family=n, values=tuple(random.normal(m, 0.3, 10)), looks=(1,) * 10)
        for n, m in (("low", 80.0), ("high", 90.0))
    ]
    (pair,) = judged(samples, fit, Matters.parse("2"), look=1)
    oracle = stats.ttest_ind(samples[1].values, samples[0].values, equal_var=False)
    span = oracle.confidence_interval(0.96)
    assert (pair.a, pair.verdict) == ("high", Verdict.BETTER)
    assert (pair.low, pair.high) == pytest.approx((span.low, span.high))
    assert (pair.least, pair.most) == (-2, 2)
    (relative,) = judged(samples, fit, Matters.parse("5%"), look=1)
    both = np.mean([np.mean(s.values) for s in samples])
    assert relative.most == pytest.approx(0.05 * both)
    found = replace(confirmation(("crnn", "tcn"), objective=fit), pairs=(pair,))
    found = replace(
        found,
        contenders=tuple(
            contender(s.family, found.contenders[0].winners, s.values) for s in samples
        ),
    )
    assert "points higher" in sentences.verdict_sentence(found, pair)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.06, 0.2, Verdict.BETTER),
        (-0.2, -0.051, Verdict.BETTER),
        (0.01, 0.2, Verdict.BETTER_OPEN),
        (-0.2, -0.01, Verdict.BETTER_OPEN),
        (0.01, 0.05, Verdict.SAME),
        (-0.04, 0.05, Verdict.SAME),
        (-0.04, 0.06, Verdict.UNDECIDED),
    ],
)
def test_the_verdict_is_where_the_interval_lies(low, high, verdict):
    assert located(low, high, 0.05) is verdict


def test_the_chosen_one_has_the_best_mean_and_no_failed_seed():
    values = {4: [1.0, None, 0.5], 7: [3.0, 3.0, 3.0], 9: [2.0, 3.0, 2.0]}
    assert chosen(values, RMSE) == 9
    assert chosen(values, Objective(direction="maximize")) == 7
    assert chosen({4: [None, float("nan")]}, RMSE) is None
    assert chosen({4: [1.0], 2: [1.0]}, RMSE) == 4, "of equal ones the first"


def test_the_chosen_one_keeps_to_the_limits_with_its_fresh_seeds_too():
    """By the means of each metric; where none keeps to them, by the objective alone."""
    goals = (RMSE, Objective(metric="mae", limit=2.0))

    def tried(mae, *, rmse=(1.0, 1.0)):
        return tuple(
            Seeded(
                seed=i, objective=r, best_epoch=1, epochs=1, seconds=0.0, test=None,
                further=further, error="" if r is not None else "lost",
            )
            for i, (r, further) in enumerate(zip(rmse, mae, strict=True))
        )  # fmt: skip

    rows = {n: SimpleNamespace(trial=n, family="net") for n in (1, 2, 3)}
    summary = SimpleNamespace(
        objective=RMSE, study=SimpleNamespace(objectives=goals), row=rows.__getitem__
    )

    def choice_of(found):
        stage = Stage(
            folder=RunFolder(RUN), look=0, trials=tuple(found), seeds=2, details={},
            fixed=(), ended=True, stored=True, found=found,
            parameters=dict.fromkeys(found),
        )  # fmt: skip
        return choice(summary, stage)["net"].trial

    above = tried([{"mae": 1.5}, {"mae": 2.6}])  # 2.05, though one seed keeps to it
    within = tried([{"mae": 1.3}, {"mae": 2.6}], rmse=(3.0, 3.0))
    assert choice_of({1: above, 2: within}) == 2
    assert choice_of({1: above, 2: tried([{}, {"mae": 1.0}])}) == 1, "of equal ones"
    failed = tried([{"mae": 1.0}, {}], rmse=(1.0, None))
    assert choice_of({1: above, 2: within, 3: failed}) == 2
    assert choice_of({1: above, 3: failed}) == 3


def test_a_decision_stands_at_later_looks():
    random = np.random.default_rng(1)
    first = random.normal(0, 0.02, 10), random.normal(0.2, 0.02, 10)
    later = random.normal(0, 0.02, 30), random.normal(-0.2, 0.02, 30)
    looks = (1,) * 10 + (2,) * 30
    samples = [
        Sample(family=n, values=tuple(np.exp([*a, *b])), looks=looks)
        for n, a, b in zip("ab", first, later, strict=True)
    ]
    (pair,) = judged(samples, RMSE, Matters.parse("5%"), look=2)
    assert (pair.a, pair.verdict, pair.look) == ("a", Verdict.BETTER, 1)
    assert pair.effect > 1 and pair.wins < 0.5, "the numbers are those of today"


def test_sizes_that_never_come_are_told():
    same = [1.0, 1.0, 1.0, 1.0, 1.0]
    samples = [Sample(family=n, values=tuple(same), looks=(1,) * 5) for n in "ab"]
    (pair,) = judged(samples, RMSE, Matters.parse("5%"), look=1)
    assert pair.verdict is Verdict.SAME and (pair.low, pair.high) == (1, 1)
    assert pair.wins == 0.5
