"""Ray Tune's searcher, scheduler, callback and stopper, all of which only ask the `RayBridge`.

What Ray calls when, and what must not be used of it: Ray 2.60, read and measured. A Ray
trial is one attempt. Decisions are taken in the scheduler's `on_trial_result` alone.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError
from ray.tune import Callback, Stopper
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from hpo.director.decisions import Continue, Done
from hpo.run.loop import TrialLoop
from hpo.worker.assignment import Assignment


@dataclass(kw_only=True)
class _Busy:
    """A Ray trial at work, and when it was last heard of."""

    trial: Trial
    since: float


class RayBridge:
    """Where Ray's hooks meet the trial loop. Ray pickles what holds it; it comes back as nothing.

    Args:
        loop: Asked for work and told what came of it.
        stall: Seconds without a report after which a worker is killed.
        creates: The file with the families' `create` functions.
    """

    def __init__(self, *, loop: TrialLoop, stall: float, creates: Path) -> None:
        self.loop = loop
        self.failure: BaseException | None = None
        self._stall = stall
        self._creates = creates
        self._busy: dict[str, _Busy] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave the ledger and the display out of Ray's own pickles."""
        return object, ()

    def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call, and keep what is raised: Ray may wrap or swallow it."""
        try:
            return function(*arguments)
        except BaseException as error:
            self.failure = error
            raise

    def suggest(self) -> dict[str, Any] | str | None:
        """The next attempt as a configuration of Ray's, or why there is none."""
        if self.loop.stop.requested:
            return str(Searcher.FINISHED)
        task = self.loop.next()
        if isinstance(task, Assignment):
            return {
                "number": task.trial,
                "attempt": task.attempt,
                "assignment": pickle.dumps(replace(task, create="")),
                "creates": str(self._creates),
            }
        return str(Searcher.FINISHED) if isinstance(task, Done) else None

    def begin(self, trial: Trial) -> None:
        """An attempt is at work."""
        self._busy[trial.trial_id] = _Busy(trial=trial, since=time.monotonic())

    def result(self, trial: Trial, result: dict[str, Any]) -> bool:
        """Take in reports; whether the attempt goes on. What follows an end is dropped."""
        self.begin(trial)
        with self.loop.gathered():
            goes_on = all(
                isinstance(self.loop.report(report), Continue)
                and not self.loop.expire()
                for report in result["reports"]
            )
        if goes_on and not self.loop.stop.requested:
            return True
        self._busy.pop(trial.trial_id, None)
        return False

    def lost(self, trial: Trial) -> None:
        """A worker process is gone, or what it needs to begin a trial is."""
        self._busy.pop(trial.trial_id, None)
        number, attempt = trial.config["number"], trial.config["attempt"]
        self.loop.lost(number, attempt, told(trial.pickled_error_file))

    def tick(self) -> None:
        """A moment passes: look for workers that do not report any more."""
        self.loop.tick()
        now = time.monotonic()
        for name, busy in list(self._busy.items()):
            silent = now - busy.since
            if silent > self._stall:
                del self._busy[name]
                config = busy.trial.config
                self.loop.stalled(config["number"], config["attempt"], silent)
                _kill(busy.trial)

    def over(self) -> bool:
        """Whether Ray is to stop whatever still runs."""
        if self.loop.expire():
            for busy in self._busy.values():
                _kill(busy.trial)
            return True
        return self.loop.stop.requested and not self._busy


def told(path: str | None) -> str:
    """What ended a worker, in words: its death, or what was raised while it took a trial up.

    Args:
        path: The file in which Ray kept the error, moments ago and for this process alone.
    """
    try:
        error = pickle.loads(Path(path or "").read_bytes())
    except Exception:  # there is none, or nothing that this process can read
        error = None
    if not isinstance(error, RayTaskError):
        return "the worker process died"
    cause = error.cause if isinstance(error.cause, BaseException) else error
    first = str(cause).strip().partition("\n")[0]
    return f"the worker could not go on: {type(cause).__name__}: {first}"


def _kill(trial: Trial) -> None:
    actor = trial.temporary_state.ray_actor
    if actor is not None:
        ray.kill(actor)


class Ask(Searcher):
    """Gives out what the Director starts.

    Args:
        bridge: The way to the trial loop.
    """

    def __init__(self, bridge: RayBridge) -> None:
        super().__init__()
        self._bridge = bridge

    def suggest(self, trial_id: str) -> Any:
        """The next attempt, ``FINISHED``, or None for not now."""
        return self._bridge.ask(self._bridge.suggest)

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Accept whatever Ray says; nothing of it is used."""
        return True

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Decided in the scheduler."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Decided in the scheduler."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the ledger holds it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class Tell(TrialScheduler):
    """Tells the trial loop what happened; the answer is on disk before Ray acts on it.

    Args:
        bridge: The way to the trial loop.
    """

    def __init__(self, bridge: RayBridge) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._bridge = bridge

    def set_search_properties(
        self, metric: str | None, mode: str | None, **spec: Any
    ) -> bool:
        """Accept whatever Ray says; nothing of it is used."""
        return True

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """The ledger has it as `started` already."""

    def on_trial_result(
        self, tune_controller: Any, trial: Trial, result: dict[str, Any]
    ) -> str:
        """Take in a report; go on or stop."""
        goes_on = self._bridge.ask(self._bridge.result, trial, result)
        return self.CONTINUE if goes_on else self.STOP

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """A worker process died."""
        self._bridge.ask(self._bridge.lost, trial)

    def on_trial_complete(
        self, tune_controller: Any, trial: Trial, result: dict[str, Any]
    ) -> None:
        """Known: only the Director ends trials."""

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Known: only the Director ends trials."""

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The waiting attempt with the smallest number; none once a stop is asked for."""
        waiting = [
            t for t in tune_controller.get_live_trials() if t.status == Trial.PENDING
        ]
        if self._bridge.loop.stop.requested:
            return None
        return min(waiting, key=lambda t: t.config["number"], default=None)

    def debug_string(self) -> str:
        """Nothing: the display is ours."""
        return ""


class Watch(Callback):
    """Ray's clock: starts, and a moment passing.

    Args:
        bridge: The way to the trial loop.
    """

    def __init__(self, bridge: RayBridge) -> None:
        self._bridge = bridge

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """The attempt is at work from now on."""
        self._bridge.ask(self._bridge.begin, trial)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """A moment passes."""
        self._bridge.ask(self._bridge.tick)


class End(Stopper):
    """Ends Ray's loop when the run is to stop or its budget is used up.

    Args:
        bridge: The way to the trial loop.
    """

    def __init__(self, bridge: RayBridge) -> None:
        self._bridge = bridge

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Never: only the Director ends trials."""
        return False

    def stop_all(self) -> bool:
        """Whether everything that still runs is to be stopped."""
        return bool(self._bridge.ask(self._bridge.over))
