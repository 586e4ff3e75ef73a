"""Which checkpoints stay: those of the best ended trials of each family."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hpo.objectives import attained, places
from hpo.study import Objective
from hpo.trials.record import Trial

KEPT = 10  # best trials per family whose checkpoints stay


class Retention:
    """The best ended trials of each family, the ranked ones first.

    A trial that ends is only compared with those that are kept, however many there were. With
    one objective these are the best of all. With several, a trial that fell out does not come
    back when the fronts change, because its checkpoint is gone.

    Args:
        objectives: What trials are ranked by.
        trials: The trials so far, in the order of their numbers.
        kept: How many of each family are kept.
    """

    def __init__(
        self,
        objectives: Sequence[Objective],
        trials: Iterable[Trial] = (),
        *,
        kept: int = KEPT,
    ) -> None:
        self._objectives = objectives
        self._kept = kept
        self._best: dict[str, list[Trial]] = {}
        families: dict[str, list[Trial]] = {}
        for trial in trials:
            if trial.ended:
                families.setdefault(trial.family, []).append(trial)
        for family, ended in families.items():
            self._best[family] = self._order(ended)[: self._kept]

    def of(self, family: str) -> tuple[Trial, ...]:
        """The family's kept trials, best first.

        Args:
            family: Its name.
        """
        return tuple(self._best.get(family, ()))

    def add(self, ended: Trial) -> list[Trial]:
        """Take in a trial that has just ended.

        Args:
            ended: The trial.

        Returns:
            Those that are not kept from now on; it may be one of them.
        """
        rivals = [*self.of(ended.family), ended]
        order = self._order(sorted(rivals, key=lambda t: t.number))
        self._best[ended.family] = best = order[: self._kept]
        return [t for t in rivals if t not in best]

    def _order(self, ended: Sequence[Trial]) -> list[Trial]:
        """Those that have a value, the ranked ones first, the earlier of equals first."""
        found = {t.number: t for t in ended if t.value is not None}
        values = {
            n: attained(t, self._objectives) for n, t in found.items() if t.ranked
        }
        ranked = [found[n] for n in places(values, self._objectives)]
        others = (t for t in found.values() if not t.ranked)
        first = self._objectives[0]
        return [*ranked, *sorted(others, key=lambda t: first.rank_key(t.value))]
