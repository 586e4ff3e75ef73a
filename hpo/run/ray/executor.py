"""The Ray executor: Ray Tune as the hands' muscles, on one machine."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

from hpo.errors import RunError
from hpo.run.loop import Hands
from hpo.run.plan import Plan
from hpo.run.ray.cluster import Cluster, cluster
from hpo.worker.assignment import Assignment

_FRUITLESS = 3  # fits that may end without a single new event


def execute(hands: Hands, plan: Plan) -> None:
    """Train until nothing is left to do, a budget is used up, or a stop is asked for.

    Args:
        hands: Asked for work and told what came of it.
        plan: How to use the machine.

    Raises:
        RunError: Ray does not start, or ends again and again without a result.
    """
    hands.observer.message("starting Ray")
    with cluster(plan, kernels=hands.kernels) as place:
        creates = _write_creates(hands, place.folder)
        fruitless = 0
        while not hands.stop.requested and not hands.expire():
            if not isinstance(hands.peek(), Assignment):
                return
            before = hands.director.epochs
            trouble = _fit(hands, plan, place, creates)
            if hands.stop.requested or hands.expire():
                return
            # Ray's memory monitor, for one, aborts the whole fit: the run goes on.
            for number in hands.running:
                attempt = hands.director.trials[number].attempt
                hands.lost(number, attempt, f"Ray ended early: {trouble}")
            fruitless = fruitless + 1 if hands.director.epochs == before else 0
            if fruitless >= _FRUITLESS:
                raise RunError(
                    f"Ray ended {_FRUITLESS} times without an epoch: {trouble}",
                    hint="`hpo resume` goes on; `--executor local` trains without Ray",
                )


def _fit(hands: Hands, plan: Plan, place: Cluster, creates: Path) -> str:
    """One run of Tune's loop; what made it end early, in words."""
    from ray import tune

    from hpo.run.ray.adapter import Ask, Desk, End, Tell, Watch
    from hpo.run.ray.worker import Worker

    desk = Desk(hands=hands, stall=plan.stall, creates=creates)
    resources = {"cpu": 1.0}
    if plan.gpus_per_trial > 0:
        resources["gpu"] = plan.gpus_per_trial
    tuner = tune.Tuner(
        tune.with_resources(Worker, resources),
        tune_config=tune.TuneConfig(
            search_alg=Ask(desk),
            scheduler=Tell(desk),
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
            callbacks=[Watch(desk)],
            stop=End(desk),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )
    try:
        tuner.fit()
    except Exception as error:
        if desk.failure is not None:
            raise desk.failure from None
        cause = error.__cause__ or error
        return f"{type(cause).__name__}: {str(cause).partition(os.linesep)[0]}"
    return "no reason given"


def _write_creates(hands: Hands, folder: Path) -> Path:
    path = folder / "creates"
    path.write_bytes(pickle.dumps(dict(hands.creates)))
    return path
