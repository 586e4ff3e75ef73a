"""The Ray executor: Ray Tune places attempts on workers of one machine."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

from hpo.errors import RunError
from hpo.run.loop import TrialLoop
from hpo.run.plan import Plan
from hpo.run.ray.cluster import Cluster, cluster
from hpo.worker.assignment import Assignment

_FRUITLESS = 3  # fits that may end without a single new event


def execute(loop: TrialLoop, plan: Plan) -> None:
    """Train until nothing is left to do, a budget is used up, or a stop is asked for.

    Args:
        loop: Asked for work and told what came of it.
        plan: How to use the machine.

    Raises:
        RunError: Ray does not start, or ends again and again without a result.
    """
    loop.observer.message("starting Ray")
    with cluster(plan, kernels=loop.kernels) as place:
        creates = _write_creates(loop, place.folder)
        fruitless = 0
        while not loop.stop.requested and not loop.expire():
            if not isinstance(loop.peek(), Assignment):
                return
            before = loop.director.epochs
            trouble = _fit(loop, plan, place, creates)
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


def _fit(loop: TrialLoop, plan: Plan, place: Cluster, creates: Path) -> str:
    """One run of Tune's loop; what made it end early, in words."""
    from ray import tune

    from hpo.run.ray.adapter import Ask, End, RayBridge, Tell, Watch
    from hpo.run.ray.worker import Worker

    bridge = RayBridge(loop=loop, stall=plan.stall, creates=creates)
    resources = {"cpu": 1.0}
    if plan.gpus_per_trial > 0:
        resources["gpu"] = plan.gpus_per_trial
    tuner = tune.Tuner(
        tune.with_resources(Worker, resources),
        tune_config=tune.TuneConfig(
            search_alg=Ask(bridge),
            scheduler=Tell(bridge),
            num_samples=-1,
            max_concurrent_trials=plan.workers,  # else one suggestion is drawn ahead
            reuse_actors=True,
            trial_dirname_creator=lambda trial: f"{trial.trial_id}",
        ),
        run_config=tune.RunConfig(
            name="run",
            storage_path=str(place.storage),
            verbose=0,
            log_to_file=False,
            callbacks=[Watch(bridge)],
            stop=End(bridge),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )
    try:
        tuner.fit()
    except Exception as error:
        if bridge.failure is not None:
            raise bridge.failure from None
        cause = error.__cause__ or error
        return f"{type(cause).__name__}: {str(cause).partition(os.linesep)[0]}"
    return "no reason given"


def _write_creates(loop: TrialLoop, folder: Path) -> Path:
    path = folder / "creates"
    path.write_bytes(pickle.dumps(dict(loop.creates)))
    return path
