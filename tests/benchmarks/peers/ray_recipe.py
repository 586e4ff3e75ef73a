"""TSFast's documented ways of tuning with Ray, on one GRU and its learning rate.

``function`` is the function trainable of its example 15 as it stands there: a closure over
the data, `report_metrics` with its checkpoint an epoch, one CPU a trial. ``reuse`` is the
`LearnerTrainable` of the same example with `reuse_actors`, checkpointed as often. (It goes on
with the weights of the trial before: its `apply_config` sets nothing but the rate.)
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from torch import nn
from tsfast.training import RNNLearner, fun_rmse
from tsfast.training.schedulers import flat_cos_scheduler
from tsfast.tsdata.pipeline import create_dls
from tsfast.tune import (
    LearnerTrainable,
    ray_device,
    report_metrics,
    resume_checkpoint,
)


def main() -> None:
    """Run the study; the last line printed is what came of it, as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--way", choices=("function", "reuse"), required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--storage", required=True)
    for name in ("trials", "epochs", "steps", "workers"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()
    ray.init(num_cpus=options.workers, include_dashboard=False)
    make = _by_function if options.way == "function" else _by_reuse
    results = make(options).fit()
    finished = [
        r for r in results if r.metrics.get("training_iteration") == options.epochs
    ]
    print(json.dumps({"completed": len(finished), "errors": results.num_errors}))
    ray.shutdown()


def _learner(options: argparse.Namespace) -> Any:
    """``make(config)`` gives the learner of a trial; the data is captured, as documented."""
    dls = create_dls(
        ["u0"],
        ["y0"],
        Path(options.data),
        win_sz=200,
        bs=16,
        n_batches_train=options.steps,
        cache=True,
    )

    def make(config: dict[str, Any]) -> Any:
        return RNNLearner(
            dls,
            loss_func=nn.MSELoss(),
            rnn_type="gru",
            hidden_size=32,
            metrics=[fun_rmse],
            opt_func=torch.optim.AdamW,
            device=ray_device(),
        )

    return make


def _by_function(options: argparse.Namespace) -> tune.Tuner:
    make = _learner(options)

    def train(config: dict[str, Any]) -> None:
        learner = make(config)
        resume_checkpoint(learner)
        with learner.no_bar(), report_metrics(learner):
            learner.fit_flat_cos(config["n_epoch"], lr=config["lr"])

    return tune.Tuner(
        tune.with_resources(train, {"cpu": 1, "gpu": 0}),
        param_space={"lr": tune.loguniform(1e-4, 1e-2), "n_epoch": options.epochs},
        tune_config=tune.TuneConfig(
            metric="valid_loss", mode="min", num_samples=options.trials
        ),
        run_config=tune.RunConfig(storage_path=options.storage),
    )


def _by_reuse(options: argparse.Namespace) -> tune.Tuner:
    def apply_config(learner: Any, config: dict[str, Any]) -> None:
        for group in learner.opt.param_groups:
            group["lr"] = config["lr"]

    trainable = tune.with_parameters(
        LearnerTrainable,
        create_learner=_learner(options),
        apply_config=apply_config,
        scheduler_fn=partial(flat_cos_scheduler, pct_start=0.75),
    )
    return tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1, "gpu": 0}),
        param_space={"lr": tune.loguniform(1e-4, 1e-2), "n_iter": options.epochs},
        tune_config=tune.TuneConfig(
            metric="valid_loss",
            mode="min",
            num_samples=options.trials,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            storage_path=options.storage,
            stop={"training_iteration": options.epochs},
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1),
        ),
    )


if __name__ == "__main__":
    main()
