"""The executor `ray`: workers of one machine, placed by Ray Tune, or those of a cluster."""

from __future__ import annotations

import pickle
from pathlib import Path

from hpo.errors import RunError
from hpo.run.executor import Plan
from hpo.run.loop import TrialLoop
from hpo.run.ray.cluster import attached, cluster
from hpo.worker.assignment import Assignment

_FRUITLESS = 3  # fits that may end without a single new epoch
# Tune asks one thing at a time and acts at once, so that nothing can share a sync of the disk
# unless it may wait: with the longest pause between two ticks 0.3 s at most are lost when the
# machine dies, and trained again (tests/test_hpo/test_machine_dies.py).
_LAG = 0.05


class Executor:
    """Ray, started for the time of one run, or attached to."""

    def workers(self, places: int) -> int:
        """As many as have room."""
        return places

    def execute(self, loop: TrialLoop, plan: Plan) -> None:
        """Train until nothing is left to do, a budget is used up, or a stop is asked for.

        Args:
            loop: Asked for work and told what came of it.
            plan: How to use the machine.

        Raises:
            RunError: Ray does not start, or ends again and again without a result.
        """
        if plan.attach is not None:
            _on_cluster(loop, plan)
            return
        loop.observer.message("starting Ray")
        loop.lag(_LAG)
        with cluster(plan, kernels=loop.kernels, shielded=loop.stop.shielded) as place:
            from hpo.run.ray.fit import fit  # only now: see `cluster`

            creates = _write_creates(loop, place.folder)
            fruitless = 0
            while not loop.stop.requested and not loop.expire():
                if not isinstance(loop.peek(), Assignment):
                    return
                before = loop.director.epochs
                trouble = fit(loop, plan, storage=place.storage, creates=creates)
                if loop.stop.requested or loop.expire():
                    return
                # Ray's memory monitor, for one, aborts the whole fit: the run goes on.
                for number in loop.running:
                    attempt = loop.director.trials[number].attempt
                    loop.lost(number, attempt, f"Ray ended early: {trouble}")
                fruitless = fruitless + 1 if loop.director.epochs == before else 0
                if fruitless >= _FRUITLESS:
                    raise RunError(
                        f"Ray ended {_FRUITLESS} times without an epoch: {trouble}",
                        hint="`hpo resume` goes on; `--executor local` trains without Ray",
                    )


def _on_cluster(loop: TrialLoop, plan: Plan) -> None:
    """Train on a cluster that is there already."""
    with attached(plan, shielded=loop.stop.shielded):
        from hpo.run.ray.pool import Pool  # only now: see `attached`

        Pool(loop, plan).train()


def _write_creates(loop: TrialLoop, folder: Path) -> Path:
    path = folder / "creates"
    path.write_bytes(pickle.dumps(dict(loop.creates)))
    return path
