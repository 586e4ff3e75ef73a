"""Whose checkpoints stay, whatever the order in which trials end."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from hpo.run.retention import KEPT, Retention
from hpo.study import Objective
from hpo.trials.record import Trial
from hpo.trials.states import State

ENDS = st.sampled_from(["completed", "converged", "stopped", "failed", "running"])


def trials(found):
    for number, (state, value, family, further) in enumerate(found, 1):
        valid = {"rmse": value, "fit": further}
        yield Trial(
            number=number, family=family, index=number, params={}, seed=1, budget=1,
            state=State(state), value=None if value > 90 else float(value),
            best_epoch=1, further=valid,
        )  # fmt: skip


MANY = st.lists(
    st.tuples(ENDS, st.integers(0, 99), st.sampled_from("ab"), st.integers(0, 9)),
    max_size=60,
)


@settings(deadline=None)
@given(MANY, st.randoms(use_true_random=False), st.integers(0, 60))
def test_the_ten_best_of_all_are_kept(found, chance, before):
    """Against a sort of everything; the driver was restarted in between."""
    objective = Objective(limit=50)
    made = list(trials(found))
    retention = Retention([objective], made[:before])
    late = [t for t in made[before:] if t.ended]
    chance.shuffle(late)
    gone = [loser for t in late for loser in retention.add(t)]
    for family in "ab":
        ended = [
            t for t in made
            if t.family == family and t.ended and t.value is not None
        ]  # fmt: skip
        ended.sort(
            key=lambda t: (not t.ranked, t.ranked and t.value > 50, t.value, t.number)
        )
        expected = [t.number for t in ended][:KEPT]
        assert [t.number for t in retention.of(family)] == expected
        assert not {t.number for t in gone if t.family == family} & set(expected)
    left = {t.number for t in late} - {t.number for f in "ab" for t in retention.of(f)}
    assert left <= {t.number for t in gone}


@settings(deadline=None)
@given(MANY)
def test_with_two_objectives_a_dominated_trial_never_displaces_its_better(found):
    goals = [Objective(), Objective(metric="fit", direction="maximize")]
    retention, ended = Retention(goals), [t for t in trials(found) if t.ended]
    for trial in ended:
        before, fallen = retention.of(trial.family), retention.add(trial)
        after = retention.of(trial.family)
        assert len(after) <= KEPT
        assert {t.number for t in (*after, *fallen)} == {
            t.number for t in (*before, trial)
        }
        for lost in (t for t in fallen if t.ranked and t.value is not None):
            fit = lost.epochs[1].valid["fit"]
            for other in (t for t in after if t.ranked):
                worse = other.value > lost.value and other.epochs[1].valid["fit"] < fit
                assert not worse, "it is better than one that is kept"
