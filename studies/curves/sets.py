"""The studies whose curves are recorded: a data set and a task each, never stopped early.

One half of the sets is for choosing rules, the other half is looked at once; they are dealt so
that each half has oscillators, tanks, circuits, both tasks, and real records.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hpo.fixed import FixedTrial
from hpo.search import registry as samplers
from hpo.seeds import derive
from hpo.study import Budget, Family, Objective, Resources, Rule, Study
from search_spaces import crnn, rnn, tcn

EPOCHS = 27
SHAPES = 5  # draws of all that compiles anew, by family
DRAWS = 2  # draws of all else for each of them
_SAMPLES = 4096  # of a simulated record
_REDRAWN = "optimizer."  # what compiles nothing anew
_SPACES = {"rnn": rnn.SPACE, "tcn": tcn.SPACE, "crnn": crnn.SPACE}


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One set of curves.

    Attributes:
        data: The dataset's name.
        task: The task's name.
        chosen_on: Whether it is of the half that rules are chosen on.
        options: Options of the dataset.
    """

    data: str
    task: str
    chosen_on: bool
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``DATA.TASK``, the name of the set's study."""
        return f"{self.data}.{self.task}"


_SIMULATED = {"samples": _SAMPLES}
SETS = (
    Recorded(data="duffing", task="simulation", chosen_on=False, options=_SIMULATED),
    Recorded(data="cascaded_tanks", task="simulation", chosen_on=True),
    Recorded(
        data="mass_spring_damper",
        task="prediction",
        chosen_on=False,
        options=_SIMULATED,
    ),
    Recorded(
        data="simulated_wiener_hammerstein",
        task="simulation",
        chosen_on=True,
        options=_SIMULATED,
    ),
    Recorded(data="wiener_hammerstein", task="simulation", chosen_on=False),
    Recorded(data="duffing", task="prediction", chosen_on=True, options=_SIMULATED),
    Recorded(
        data="simulated_cascaded_tanks",
        task="simulation",
        chosen_on=False,
        options=_SIMULATED,
    ),
    Recorded(data="bouc_wen", task="simulation", chosen_on=True),
)


def study(recorded: Recorded) -> Study:
    """The study that records a set: draws from the shipped spaces, none of them stopped.

    Each family has `SHAPES` random draws, and each of these `DRAWS` trials that differ in the
    optimizer's numbers, so that they share what is compiled. Four batches an epoch and 27
    epochs, so that a set takes minutes.
    """
    fixed: dict[str, Any] = {"data.batches": 4}
    if recorded.task == "prediction":
        fixed["loss.n_skip"] = 0  # known outputs come first: there is no start to skip
    families = tuple(
        Family(name=name, space=space.replace(fixed)) for name, space in _SPACES.items()
    )
    trials = tuple(trial for family in families for trial in _draws(family))
    return Study(
        name=recorded.name,
        data={"name": recorded.data, **recorded.options},
        task=recorded.task,
        families=families,
        budget=Budget(trials=len(trials), epochs=EPOCHS),
        fixed=trials,
        stopping=(Rule(name="divergence"),),
        resources=Resources(executor="local", workers=1),
        seed=0,
        description="Curves to choose stopping rules on.",
    )


def _draws(family: Family) -> Iterator[FixedTrial]:
    sampler = samplers.make(Rule(name="random"))

    def drawn(*purpose: int) -> dict[str, Any]:
        request = samplers.Request(
            space=family.space,
            seed=derive(0, family.name, *purpose),
            family_seed=0,
            index=0,
            history=(),
            objective=Objective(),
        )
        point = sampler.propose(request)
        assert point is not None, "a space has no end of points"
        return point

    for shape in range(SHAPES):
        kept = {k: v for k, v in drawn(shape).items() if not k.startswith(_REDRAWN)}
        for draw in range(DRAWS):
            other = drawn(shape, draw)
            redrawn = {k: v for k, v in other.items() if k.startswith(_REDRAWN)}
            yield FixedTrial(
                family=family.name,
                params=family.space.validate({**kept, **redrawn}),
                seed=derive(0, family.name, "trial", shape, draw),
            )
