"""The frozen `Study` that a study file builds: families × data × objectives × budget.

Plain data throughout. `to_json` writes down what ran, resolved; `from_json` reads it back.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Self

from hpo import order as orders
from hpo.errors import StudyError
from hpo.fixed import FixedTrial
from hpo.forms import refuse_other, refuse_others
from hpo.objective import Objective as Objective
from hpo.rule import Rule as Rule
from hpo.shares import divided
from hpo.warm_start import WarmStart, warm_starts
from models.errors import near_matches
from search_spaces.space import Space, SpaceError

# Which defaults of options a recorded study means where it names none: see `_BEFORE`. Goes up with
# every default that changes what a resumed run does.
_DEFAULTS = 3
# By rule: up to which of them an option had another value.
_BEFORE: Mapping[str, tuple[int, Mapping[str, Any]]] = {
    "asha": (1, {"grace": None}),  # a tenth of the budget
    "halving": (2, {"last": 0.5}),
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def _positive(what: str, value: Any, *, hint: str | None = None) -> None:
    """Refuse what is no finite number above 0.

    Raises:
        StudyError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise StudyError(f"{what} must be a number, got {value!r}", hint=hint)
    if not 0 < value < math.inf:
        words = "positive and finite" if value > 0 else "positive"
        raise StudyError(f"{what} must be {words}, got {value!r}", hint=hint)


def _whole(what: str, value: Any, *, hint: str) -> None:
    """Refuse what is no number of things: none of them, a part of one, or no number.

    Raises:
        StudyError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise StudyError(f"{what} must be a whole number, got {value!r}", hint=hint)
    _positive(what, value, hint=hint)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """One kind of model in a study.

    Attributes:
        name: The family's name.
        space: What may vary.
        create: ``"module:function"`` or a callable ``create(config, context)``; empty means
            the function `create` of `models.<name>`.
        share: Its declared share of the run's trials, relative to the other families.
        trials: A fixed number of trials instead of a share (closed-form families: 1).
        epochs: Its own epoch budget instead of the study's (closed-form families: 1).
        initial_points: Points to try first, as searched values by name.
        per_trial: What a trial of it takes of a node, in place of all that the study's
            `Resources` say of that: ``{"cpu": 1, "a100": 1}``. Empty means the study's.
    """

    name: str
    space: Space
    create: str | Callable[..., Any] = ""
    share: float = 1.0
    trials: int | None = None
    epochs: int | None = None
    initial_points: tuple[Mapping[str, Any], ...] = ()
    per_trial: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the name, the shares and every point to try first."""
        if not _NAME.fullmatch(self.name):
            raise StudyError(
                f"a family's name is letters, digits, `_.-`; got {self.name!r}"
            )
        if isinstance(self.space, Mapping):
            object.__setattr__(self, "space", Space(self.space))
        if not self.create:
            object.__setattr__(self, "create", f"models.{self.name}:create")
        _positive(f"family `{self.name}`: share", self.share)
        for name in ("trials", "epochs"):
            value = getattr(self, name)
            if value is not None:
                hint = "such as 10 (not 10.0); left out, it is the study's"
                _whole(f"family `{self.name}`: {name}", value, hint=hint)
        try:
            points = tuple(self.space.validate(p) for p in self.initial_points)
        except SpaceError as error:
            raise StudyError(
                f"family `{self.name}`, points to try first: {error}"
            ) from error
        object.__setattr__(self, "initial_points", points)
        object.__setattr__(self, "per_trial", _amounts(self.per_trial))

    @property
    def reference(self) -> str:
        """``module:function`` of `create`, whether it was given as text or as an object."""
        if isinstance(self.create, str):
            return self.create
        module = getattr(self.create, "__module__", "?")
        return f"{module}:{getattr(self.create, '__qualname__', type(self.create).__qualname__)}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """How much a run may spend: whole trials and epochs, seconds also in part.

    Attributes:
        trials: The run's total number of trials, divided by the families' shares.
        epochs: The epoch budget of each trial: the horizon of its schedules.
        total_epochs: Epochs of all trials together, or None for no limit.
        seconds: Active wall-clock seconds of the run, or None for no limit.
    """

    trials: int = 16
    epochs: int = 30
    total_epochs: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        """Refuse budgets of nothing, and of parts of a trial or an epoch."""
        for name in ("trials", "epochs"):
            hint = "such as 16 (not 16.0)"
            _whole(f"budget {name}", getattr(self, name), hint=hint)
        if self.total_epochs is not None:
            hint = "such as 480 (not 480.0); left out, there is no limit"
            _whole("budget total_epochs", self.total_epochs, hint=hint)
        if self.seconds is not None:
            hint = "left out, there is no limit"
            _positive("budget seconds", self.seconds, hint=hint)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resources:
    """Where trials run.

    Attributes:
        executor: ``ray``, ``local`` (child processes of the driver), or another one by name.
        workers: Trials at a time; None means one per core, or one per GPU share, and a
            single one for ``local``.
        gpus_per_trial: Fraction of a GPU a trial gets; 0 trains on the CPU.
        stall: Seconds without a report after which a trial is killed.
        order: ``arrival``, ``virtual`` or ``virtual:SEATS``: in which order decisions are
            taken, see `hpo.order`.
        per_trial: What else a trial takes of a node, by Ray's names: ``{"cpu": 2, "a100": 1}``.
            Without ``cpu`` it is a core; `gpus_per_trial` is short for ``gpu``.
    """

    executor: str = "ray"
    workers: int | None = None
    gpus_per_trial: float = 0.0
    stall: float = 600.0
    order: str = orders.ARRIVAL
    per_trial: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse resources that no machine has."""
        if not _amount(self.gpus_per_trial):
            raise StudyError(
                "gpus_per_trial must be a finite number that is not negative, got "
                f"{self.gpus_per_trial!r}",
                hint="0.5 shares a GPU between two trials, 0 trains on the CPU",
            )
        per_trial = _amounts(self.per_trial)
        gpu = per_trial.pop("gpu", self.gpus_per_trial)
        if self.gpus_per_trial not in (0, gpu):
            raise StudyError(
                f"gpus_per_trial = {self.gpus_per_trial:g}, but per_trial says gpu = {gpu:g}"
            )
        object.__setattr__(self, "gpus_per_trial", gpu)
        object.__setattr__(self, "per_trial", per_trial)
        if self.workers is not None:
            hint = "such as 2; left out, they are counted"
            _whole("workers", self.workers, hint=hint)
        _positive("stall", self.stall)
        orders.seats_in(self.order)

    @property
    def virtual(self) -> bool:
        """Whether decisions follow the virtual clock."""
        return orders.is_virtual(self.order)

    @property
    def seats(self) -> int:
        """How many trials may have begun at a time: the workers, or the seats of the clock."""
        workers = self.workers or 1
        order = orders.resolved(self.order, workers=workers)
        return orders.seats_in(order) or workers

    @property
    def request(self) -> dict[str, float]:
        """What a trial takes of a node, as Ray names it: ``CPU``, ``GPU``, and others."""
        return _request({**self.per_trial, "gpu": self.gpus_per_trial})

    def to_json(self) -> dict[str, Any]:
        """The fields; `order` and `per_trial` only where said, as no run of before has them."""
        fields = dataclasses.asdict(self)
        if not self.per_trial:
            del fields["per_trial"]
        if self.order == orders.ARRIVAL:
            del fields["order"]
        return fields


def _amount(value: Any) -> bool:
    """Whether a node could have so much of a resource: a million GPUs are a slip."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and 0 <= value < 1e6


def _amounts(per_trial: Any) -> dict[str, float]:
    """`per_trial`, checked; ``CPU`` and ``GPU`` are the same as in small letters."""
    if not isinstance(per_trial, Mapping):
        raise StudyError(
            f"per_trial is a mapping, got {per_trial!r}",
            hint='for example {"cpu": 2, "a100": 1}',
        )
    found = {}
    for name, amount in per_trial.items():
        if not isinstance(name, str) or not _amount(amount):
            raise StudyError(
                f"per_trial says how much of a resource a trial takes, got {name!r}: "
                f"{amount!r}",
                hint='for example {"cpu": 2, "a100": 1}',
            )
        found[name.lower() if name in ("CPU", "GPU") else name] = float(amount)
    return found


def _request(per_trial: Mapping[str, float]) -> dict[str, float]:
    """What a trial takes of a node, as Ray names it; without ``cpu`` it is a core."""
    taken = {"CPU": 1.0}
    for name, amount in per_trial.items():
        taken[name.upper() if name in ("cpu", "gpu") else name] = amount
    return {name: amount for name, amount in taken.items() if name != "GPU" or amount}


# What a study is scored by that names no objective: its task's own, once the task is known.
TASKS_OWN = (Objective(),)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """Families × dataset × objectives × budget × sampler × stopping × resources.

    Attributes:
        name: Names the folder under `results/`.
        families: What is compared.
        data: A dataset's name or folder, or any JSON-able reference a `create` understands.
        task: What is learned: a task's name, or ``{"name": …}`` with its settings. It may be
            left out where families and data share exactly one.
        objectives: What trials are scored by. The first one chooses each trial's best epoch
            and is what stopping rules compare; several rank by front, then by the first.
            Left out: the task's own objective, or the smallest ``rmse``.
        budget: How much may be spent.
        sampler: How configurations are proposed.
        stopping: Which rules may end a trial before its budget is spent.
        resources: Where trials run.
        settings: Configuration keys fixed for every family that knows them.
        warm_start: Earlier runs to begin with; a run's name stands for its best configurations.
        fixed: Trials that are trained instead of a search, in this order.
        evaluate: A part, such as ``test``, that every trial is scored on when all have ended.
        seed: The seed of every random choice.
        description: One line for `hpo list studies`.
    """

    name: str
    families: tuple[Family, ...]
    data: Any = None
    task: str | Mapping[str, Any] | None = None
    objectives: tuple[Objective, ...] = TASKS_OWN
    budget: Budget = Budget()
    sampler: Rule = Rule(name="random")
    stopping: tuple[Rule, ...] = (Rule(name="divergence"), Rule(name="halving"))
    resources: Resources = Resources()
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    warm_start: tuple[WarmStart, ...] = ()
    fixed: tuple[FixedTrial, ...] = ()
    evaluate: str = ""
    seed: int = 0
    description: str = ""

    def __post_init__(self) -> None:
        """Check kinds, names, duplicates and that there is something to do."""
        self._refuse_other_kinds()
        if not _NAME.fullmatch(self.name):
            raise StudyError(
                f"a study's name is letters, digits, `_.-`; got {self.name!r}"
            )
        if isinstance(self.task, str):
            object.__setattr__(self, "task", {"name": self.task})
        if self.task is not None and not (
            isinstance(self.task, Mapping) and isinstance(self.task.get("name"), str)
        ):
            raise StudyError(
                f"study `{self.name}`: a task is a name, or a mapping with `name` and "
                f"settings; got {self.task!r}",
                hint='write `task="simulation"`, or `task={"name": "prediction", "known": 30}`',
            )
        object.__setattr__(self, "warm_start", warm_starts(self.warm_start))
        if not self.families:
            raise StudyError(
                f"study `{self.name}` has no family", hint="add one `Family(...)`"
            )
        names = [f.name for f in self.families]
        if len(set(names)) != len(names):
            raise StudyError(
                f"study `{self.name}` names a family twice: {', '.join(names)}"
            )
        for trial in self.fixed:
            trial.check(self.family(trial.family).space)
        if not self.objectives:
            raise StudyError(f"study `{self.name}` has no objective")
        orders.refuse_seconds(self.resources.order, self.budget.seconds)
        whole = isinstance(self.seed, int) and not isinstance(self.seed, bool)
        if not whole or self.seed < 0:
            raise StudyError(
                f"the seed must be an integer from 0 up, got {self.seed!r}"
            )

    def _refuse_other_kinds(self) -> None:
        """Refuse settings that would only fail where they are used.

        Raises:
            StudyError: One is of another kind.
        """
        for name in ("name", "evaluate", "description"):
            refuse_other(name, getattr(self, name), str, example='"text"')
        refuse_other("settings", self.settings, Mapping, example='{"key": 3}')
        refuse_other("budget", self.budget, Budget, example="Budget(trials=16)")
        resources = "Resources(workers=2)"
        refuse_other("resources", self.resources, Resources, example=resources)
        refuse_other("sampler", self.sampler, Rule, example='Rule(name="tpe")')
        refuse_others("stopping", self.stopping, Rule, example='Rule(name="asha")')
        family = 'Family(name="rnn", space=SPACE)'
        refuse_others("families", self.families, Family, example=family)
        objective = 'Objective(metric="rmse")'
        refuse_others("objectives", self.objectives, Objective, example=objective)

    @property
    def described_task(self) -> Mapping[str, Any]:
        """Name and settings of the task; empty where it has none."""
        assert not isinstance(self.task, str), "made a mapping on construction"
        return self.task or {}

    def replace(self, **changes: Any) -> Study:
        """A copy with these fields changed."""
        return dataclasses.replace(self, **changes)

    def family(self, name: str) -> Family:
        """The family of that name.

        Raises:
            StudyError: The study has none (near matches are listed).
        """
        for family in self.families:
            if family.name == name:
                return family
        raise StudyError(
            f"study `{self.name}` has no family `{name}`",
            hint=near_matches(name, [f.name for f in self.families]),
        )

    def epochs_of(self, family: str) -> int:
        """The epoch budget of a family's trials."""
        return self.family(family).epochs or self.budget.epochs

    def request_of(self, family: str) -> dict[str, float]:
        """What a trial of a family takes of a node, as Ray names it."""
        own = self.family(family).per_trial
        return _request(own) if own else self.resources.request

    @property
    def requests(self) -> dict[str, dict[str, float]]:
        """What a trial of each family takes of a node, as Ray names it."""
        return {f.name: self.request_of(f.name) for f in self.families}

    def trials_of(self) -> dict[str, int]:
        """How many trials each family gets, in declaration order.

        Families with a fixed number get it; the rest of the run's total is divided by the
        shares (largest remainders, ties to the family declared first), at least 1 each.
        Where the study names its trials, these are counted.
        """
        if self.fixed:
            named = [t.family for t in self.fixed]
            return {f.name: named.count(f.name) for f in self.families}
        own = {f.name: f.trials for f in self.families if f.trials is not None}
        shares = {f.name: f.share for f in self.families if f.trials is None}
        counts = own | divided(self.budget.trials - sum(own.values()), shares)
        return {f.name: counts[f.name] for f in self.families}

    def to_json(self) -> dict[str, Any]:
        """The resolved study as JSON-able data."""
        plain = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name in ("name", "data", "seed", "description")
        }
        return {
            **plain,
            "task": None if self.task is None else dict(self.described_task),
            "settings": dict(self.settings),
            "warm_start": [dataclasses.asdict(w) for w in self.warm_start],
            "families": [
                {
                    "name": f.name,
                    "create": f.reference,
                    "space": f.space.to_json(),
                    "share": f.share,
                    "trials": f.trials,
                    "epochs": f.epochs,
                    "initial_points": [dict(p) for p in f.initial_points],
                    **({"per_trial": dict(f.per_trial)} if f.per_trial else {}),
                }
                for f in self.families
            ],
            "objectives": [o.to_json() for o in self.objectives],
            "budget": dataclasses.asdict(self.budget),
            "sampler": _rule_to_json(self.sampler),
            "stopping": [_rule_to_json(r) for r in self.stopping],
            "resources": self.resources.to_json(),
            "fixed": [t.to_json() for t in self.fixed],
            "evaluate": self.evaluate,
            "defaults": _DEFAULTS,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild what `to_json` described; `create` comes back as ``module:function``.

        Raises:
            StudyError: The description is not one of a study.
        """
        try:
            return cls(
                name=data["name"],
                families=tuple(_family_from_json(f) for f in data["families"]),
                data=data["data"],
                # Before there were tasks, every study was one of simulation.
                task=data.get("task", {"name": "simulation"}),
                objectives=tuple(Objective(**o) for o in data["objectives"]),
                budget=Budget(**data["budget"]),
                sampler=Rule(**data["sampler"]),
                stopping=_stopping_from_json(data),
                resources=Resources(**data["resources"]),
                settings=data["settings"],
                warm_start=tuple(data.get("warm_start", ())),
                fixed=tuple(FixedTrial(**t) for t in data.get("fixed", ())),
                evaluate=data.get("evaluate", ""),
                seed=data["seed"],
                description=data["description"],
            )
        except (KeyError, TypeError, SpaceError) as error:
            raise StudyError(f"not the description of a study: {error}") from error

    def fingerprint(self) -> str:
        """Eight hex digits that name this resolved study in a run's folder name."""
        text = json.dumps(self.to_json(), sort_keys=True, default=str)
        return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def _rule_to_json(rule: Rule) -> dict[str, Any]:
    return {"name": rule.name, "options": dict(rule.options)}


def _family_from_json(data: Mapping[str, Any]) -> Family:
    """A recorded family; its initial points were recorded as ``first`` until that was renamed."""
    plain = {k: v for k, v in data.items() if k not in ("space", "first")}
    points = data["initial_points"] if "initial_points" in data else data["first"]
    space = Space.from_json(data["space"])
    return Family(**{**plain, "space": space, "initial_points": tuple(points)})


def _stopping_from_json(data: Mapping[str, Any]) -> tuple[Rule, ...]:
    """A recorded study's stopping rules, with the defaults that it had when it ran."""
    rules = tuple(Rule(**r) for r in data["stopping"])
    recorded, found = data.get("defaults", 1), []
    for rule in rules:
        until, options = _BEFORE.get(rule.name, (0, {}))
        given = {**options, **rule.options} if recorded <= until else rule.options
        found.append(dataclasses.replace(rule, options=given))
    return tuple(found)
