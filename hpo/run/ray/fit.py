"""One run of Tune's loop, with hooks that only ask the trial loop."""

from __future__ import annotations

import os
from pathlib import Path

from ray import tune

from hpo.run.executor import Plan
from hpo.run.loop import TrialLoop
from hpo.run.ray.adapter import Ask, End, RayBridge, Tell, Watch
from hpo.run.ray.worker import Worker


def fit(loop: TrialLoop, plan: Plan, *, storage: Path, creates: Path) -> str:
    """Let Tune place attempts until it ends.

    Args:
        loop: Asked for work and told what came of it.
        plan: How to use the machine.
        storage: Where Tune may write what nobody will read.
        creates: The file with the families' `create` functions.

    Returns:
        What made it end early, in words.
    """
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
            storage_path=str(storage),
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
