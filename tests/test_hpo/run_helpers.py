"""Learners in pure Python for the tests of `hpo.run`, and a driver to kill."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from optuna.distributions import FloatDistribution, IntDistribution

from hpo.study import Budget, Family, Resources, Rule, Study
from hpo.testing.steady import Steady


class Hog(Steady):
    """Takes much memory at epoch 3, once."""

    def fit_iter(self, epochs):
        for epoch in super().fit_iter(epochs):
            marker = self.place / "hogged"
            if epoch.number == 2 and not marker.exists():
                yield epoch
                marker.touch()
                hoard = bytearray(3 * 2**30)
                hoard[::4096] = b"x" * len(hoard[::4096])  # touched, so that it counts
                time.sleep(20)
            else:
                yield epoch


def create(config, context):
    kind = Hog if config.get("trouble") == "hog once" else Steady
    return kind(config, context)


class Foreign:
    """Somebody else's trainer: counts from 0, knows no save, yields its own objects."""

    def __init__(self, rate):
        self.rate = rate

    def fit_iter(self, epochs):
        for number in range(epochs):
            value = self.rate / (number + 1)
            print("training", number)
            yield Progress(number, value * 2, value, {"rmse": value})


class Progress:
    def __init__(self, epoch, train_loss, valid_loss, metrics):
        self.epoch, self.train_loss = epoch, train_loss
        self.valid_loss, self.metrics = valid_loss, metrics


def create_foreign(config, context):
    return Foreign(config["rate"])


def study(name="steady", *, create=create, constants=None, **changes):
    space = {
        "rate": FloatDistribution(0.05, 0.9),
        "size": IntDistribution(1, 4),
        "start": 1.0,
        **(constants or {}),
    }
    base = Study(
        name=name,
        families=(Family(name="steady", space=space, create=create),),
        budget=Budget(trials=6, epochs=6),
        sampler=Rule(name="tpe", options={"startup": 3}),
        stopping=(Rule(name="divergence"), Rule(name="asha")),
        resources=Resources(executor="local", workers=1),
        seed=3,
    )
    return base.replace(**changes)


ENDED = ("completed", "converged", "stopped", "diverged", "failed", "cancelled")


def rmse(text):
    """The objective of an epoch in a story."""
    import ast

    return ast.literal_eval(text)["rmse"]


def events_of(folder):
    from hpo.ledger.log import read_events

    return read_events(Path(folder) / "events.jsonl")[0]


def story(folder):
    """The result of a run: configurations, seeds, states, values by epoch."""
    trials = {}
    for event in events_of(folder):
        trial = trials.setdefault(event.trial, {"epochs": {}, "state": None})
        if event.event == "proposed":
            trial |= {k: getattr(event, k) for k in ("family", "params", "seed")}
        elif event.event == "epoch":
            trial["epochs"].setdefault(event.epoch, repr(event.valid))
        elif event.event in ("completed", "converged", "stopped", "diverged", "failed"):
            trial["state"] = (event.event, event.rule or None, event.epoch)
    trials.pop(None, None)
    return trials


class KillAt:
    """An observer that ends its own process, as kill -9 does, right after an event."""

    def __init__(self, n, signal=9):
        self.n, self.signal = n, signal

    def recall(self, event, director):
        pass

    def event(self, event, director):
        if event.n == self.n:
            os.kill(os.getpid(), self.signal)

    def tick(self, director):
        pass

    def message(self, text):
        print(text, flush=True)


def families(**troubles):
    """One family, of one trial, for each trouble."""
    return tuple(
        Family(
            name=name,
            space={
                "rate": FloatDistribution(0.05, 0.9),
                "start": 1.0,
                "trouble": trouble,
            },
            create="run_helpers:create",
            trials=1,
        )
        for name, trouble in troubles.items()
    )


class Environment:
    """Writes down where it runs instead of learning."""

    def __init__(self, directory):
        self.directory = directory

    def fit_iter(self, epochs):
        names = ("CUDA_VISIBLE_DEVICES", "XLA_CLIENT_MEM_FRACTION", "JAX_PLATFORMS")
        names += ("NPROC", "OMP_NUM_THREADS", "JAX_COMPILATION_CACHE_DIR")
        seen = {n: os.environ.get(n) for n in names} | {"jax": "jax" in sys.modules}
        (self.directory.parent / "seen.json").write_text(json.dumps(seen))
        time.sleep(1.0)
        yield {"rmse": 1.0}


def create_environment(config, context):
    return Environment(context.directory)


def real_study(resources):
    """A few epochs of small networks of the family `rnn` on simulated data."""
    space = {
        "optimizer.learning_rate": FloatDistribution(1e-3, 1e-2, log=True),
        "model.hidden_size": IntDistribution(4, 8, step=4),
        "model.layers": 1,
        "data.window": 40,
        "data.batch_size": 4,
        "data.batches": 3,
        "loss.n_skip": 5,
    }
    return Study(
        name="real",
        families=(Family(name="rnn", space=space),),
        data={"name": "mass_spring_damper", "samples": 1024},
        task="simulation",
        budget=Budget(trials=4, epochs=3),
        sampler=Rule(name="random"),
        stopping=(Rule(name="divergence"),),
        resources=resources,
        seed=1,
    )


def described(options):
    """The study that the options of a driver ask for."""
    resources = Resources(
        executor=options.get("executor", "local"),
        workers=options.get("workers", 1),
        stall=options.get("stall", 600.0),
        gpus_per_trial=options.get("share", 0.0),
    )
    if options.get("real"):
        return real_study(resources)
    base = study(
        create=options.get("create", "run_helpers:create"),
        constants=options.get("constants"),
        resources=resources,
    )
    if "screening" in options:
        epochs, keep = options["screening"]
        rule = Rule(name="screening", options={"epochs": epochs, "keep": keep})
        return base.replace(stopping=(rule,), sampler=Rule(name="random"))
    if "troubles" in options:
        return base.replace(
            families=families(**options["troubles"]),
            stopping=(Rule(name="divergence"),),
        )
    if "total_epochs" in options:
        base = base.replace(stopping=(Rule(name="divergence"),))
    return base.replace(
        budget=Budget(
            trials=options.get("trials", 6),
            epochs=options.get("epochs", 6),
            total_epochs=options.get("total_epochs"),
        )
    )


def drive(results, options):
    """The driver process; `options` come as JSON."""
    from hpo.run.launch import launch, resume

    observer = KillAt(options.get("kill_at", -1), options.get("signal", 9))
    if options.get("resume"):
        outcome = resume(options["resume"], observer=observer)
    else:
        outcome = launch(
            described(options),
            results=results,
            observer=observer,
            gpus=options.get("gpus"),
        )
    print(json.dumps({"state": outcome.state, "folder": str(outcome.folder)}))


if __name__ == "__main__":
    drive(sys.argv[1], json.loads(sys.argv[2]))
