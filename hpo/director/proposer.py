"""Which family gets the next trial, and which point of its space that is."""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction
from itertools import takewhile

from msgspec import UNSET

from hpo import seeds
from hpo.director.state import RunState
from hpo.errors import StudyError
from hpo.ledger.events import Proposed
from hpo.search import registry
from hpo.study import Study
from hpo.trials.record import Trial
from search_spaces.space import Space


class Proposer:
    """Proposes trials; a pure function of the study and the run's state.

    Args:
        study: What is searched.
        draws_first: The rule that begins the run's trials before any has ended; empty where
            none does.

    Attributes:
        remarks: What a person should know of the budget, and of the sampler in these
            spaces, in words.

    Raises:
        StudyError: The sampler or one of its options is unknown or breaks a rule, its
            package is missing, or it cannot search one of the spaces.
    """

    def __init__(self, study: Study, *, draws_first: str = "") -> None:
        self._study = study
        self._sampler = registry.make(study.sampler)
        self._quota = study.trials_of()
        # Families whose sampler has no point left. That is final and follows from the
        # study, so remembering it changes no decision; it is only asked once.
        self._spent: set[str] = set()
        # By family and number of extensions: looked for once, not for every proposal.
        self._first: dict[tuple[str, int], int] = {}
        remarks = _raised(study, sum(self._quota.values()))
        if draws_first and isinstance(self._sampler, registry.LearnsFromEnds):
            name = study.sampler.name
            remarks.append(
                f"`{name}` learns from trials that were trained to their end, and "
                f"`{draws_first}` begins nearly all before one is: `{name}` will draw at "
                f"random; it learns with `asha`, or with no rule that ends trials early"
            )
        for family in study.families:
            try:
                found = self._sampler.examine(family.space, len(study.objectives))
            except StudyError as error:
                raise StudyError(
                    f"family `{family.name}`: {error.message}", hint=error.hint
                ) from error
            searched = family.space.distributions
            remarks += [f"family `{family.name}`: {text}" for text in found if searched]
        self.remarks = tuple(remarks)

    def total(self, state: RunState) -> int:
        """How many trials the run will have, as far as is known."""
        return sum(self.quota(state).values())

    def quota(self, state: RunState) -> dict[str, int]:
        """How many trials each family will have; where a sampler has no point left, no more."""
        return {
            family: len(state.members(family)) if self._ended(family, state) else quota
            for family, quota in self._quota.items()
        }

    def last_epoch(self, trial: Trial) -> int:
        """The epoch after which a trial is complete: all of its budget."""
        return trial.budget

    def next(
        self, state: RunState, elapsed: float, among: Collection[str] | None = None
    ) -> Proposed | None:
        """The next proposal, or None when every family has had its trials.

        A family whose sampler has no more points has had them.

        Args:
            state: What the run amounts to so far.
            elapsed: Active seconds of the run.
            among: Only these families; None for all.
        """
        while (family := self._next_family(state, among)) is not None:
            proposed = self._propose(family, state, elapsed)
            if proposed is not None:
                return proposed
            self._spent.add(family)
        return None

    def _next_family(
        self, state: RunState, among: Collection[str] | None
    ) -> str | None:
        """The family that is furthest behind its share; ties go to the one named first."""
        done = {
            f: Fraction(len(state.members(f)), quota)
            for f, quota in self._quota.items()
            if f not in self._spent and (among is None or f in among)
        }
        return min((f for f in done if done[f] < 1), key=done.__getitem__, default=None)

    def _ended(self, family: str, state: RunState) -> bool:
        """Whether the family has no more points; a pure function of what is known."""
        if family in self._spent:
            return True
        sampler = self._sampler
        if not isinstance(sampler, registry.FiniteSampler):
            return False
        request = self._request(family, state)
        return request.index >= 0 and sampler.ends(request)

    def _request(self, family: str, state: RunState) -> registry.Request:
        """The question to the sampler; an index below 0 means a point to try first."""
        study, history = self._study, state.members(family)
        index = len(history)
        declared = study.family(family)
        carried = sum(1 for _ in takewhile(lambda t: t.origin == "carried", history))
        return registry.Request(
            space=declared.space,
            seed=seeds.derive(study.seed, family, "sampler", index),
            family_seed=seeds.derive(study.seed, family, "sampler"),
            index=index - carried - len(declared.initial_points),
            history=history,
            objective=study.objectives[0],
            further=study.objectives[1:],
            former=self._former(family, state),
        )

    def _former(self, family: str, state: RunState) -> list[tuple[Trial, Space]]:
        """Trials from before the extension that gave a family its space, and their spaces."""
        known = family, state.extensions
        if known not in self._first:
            self._first[known] = self._since(family, state)
        since, spaces = self._first[known], state.spaces
        return [
            (trial, spaces.of(trial.number, family, trial.extension))
            for trial in takewhile(lambda t: t.extension < since, state.members(family))
        ]

    def _since(self, family: str, state: RunState) -> int:
        """Which extension gave a family the space of today; 0 for none."""
        *earlier, today = state.spaces.every(family)
        joined = state.extensions - len(earlier)
        others = (n for n, space in enumerate(earlier, joined + 1) if space != today)
        return max(others, default=0)

    def _propose(self, family: str, state: RunState, elapsed: float) -> Proposed | None:
        study, index = self._study, len(state.members(family))
        request = self._request(family, state)
        if request.index < 0:
            origin = "first"
            params = dict(study.family(family).initial_points[request.index])
        else:
            origin = study.sampler.name
            found = self._sampler.propose(request)
            if found is None:
                return None
            params = found
        return Proposed(
            trial=len(state.trials) + 1,
            elapsed=elapsed,
            family=family,
            number=index,
            params=params,
            seed=seeds.derive(study.seed, family, "trial", index),
            origin=origin,
            extension=state.extensions or UNSET,
        )


def _raised(study: Study, total: int) -> list[str]:
    """A remark where families that share the budget get more trials than it has."""
    asked = study.budget.trials
    if total <= asked or all(f.trials is not None for f in study.families):
        return []
    return [f"{total} trials, not {asked}: each family gets at least one"]
