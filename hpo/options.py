"""Turn names, and `Rule`s of a study (a name with options), into the objects they name.

A kind of thing that can be named is a package: each file in it is one, under the file's name.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from hpo.errors import StudyError
from hpo.study import Rule
from models.errors import near_matches


def names_in(package: ModuleType) -> tuple[str, ...]:
    """The names of a package's modules, in order; its `__path__` says where they lie."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(package.__path__)))


def look_up(what: str, name: str, package: ModuleType, attribute: str) -> type:
    """The class that a module of a package defines.

    Args:
        what: ``sampler``, ``stopping rule`` or the like, for the message.
        name: The module's name.
        package: Where the modules are.
        attribute: The name of the class.

    Raises:
        StudyError: There is no such module (near matches are listed).
    """
    known = names_in(package)
    if name not in known:
        raise StudyError(f"unknown {what} `{name}`", hint=near_matches(name, known))
    module = importlib.import_module(f"{package.__name__}.{name}")
    found: type = getattr(module, attribute)
    return found


def build(what: str, rule: Rule, package: ModuleType, attribute: str) -> Any:
    """Look up a class by name and construct it with checked options.

    Args:
        what: ``sampler`` or ``stopping rule``, for messages.
        rule: Name and options.
        package: Where the modules are.
        attribute: The name of the class, a frozen dataclass. A field whose metadata has
            `rest` takes all options that no other field has.

    Raises:
        StudyError: The name or an option is unknown, or an option's value breaks a rule.
    """
    kind = look_up(what, rule.name, package, attribute)
    fields = dataclasses.fields(kind)
    options = {f.name for f in fields if not f.metadata.get("rest")}
    rest = next((f.name for f in fields if f.metadata.get("rest")), None)
    for name in rule.options:
        if name not in options and rest is None:
            hint = near_matches(name, options) or f"`{rule.name}` takes no options"
            raise StudyError(f"{what} `{rule.name}` has no option `{name}`", hint=hint)
    given = {k: v for k, v in rule.options.items() if k in options}
    if rest is not None:
        given[rest] = {k: v for k, v in rule.options.items() if k not in options}
    return kind(**given)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Described:
    """One thing that can be asked for by name.

    Attributes:
        name: Its name.
        summary: What it does, in a line.
        options: Every option with its default, None where it follows from the study.
        extra: The extra of this distribution that it needs; empty for none.
        rest: Whether it takes further options, which are another library's own.
    """

    name: str
    summary: str
    options: Mapping[str, Any]
    extra: str = ""
    rest: bool = False


def describe(name: str, kind: type) -> Described:
    """Read a sampler's or a rule's class: its docstring and its fields.

    Args:
        name: Its name.
        kind: The frozen dataclass; its module names in `EXTRA` what it needs, if anything.
    """
    module = sys.modules[kind.__module__]
    fields = dataclasses.fields(kind)
    summary = (inspect.getdoc(module) or "").partition("\n")[0]
    return Described(
        name=name,
        summary=summary.rstrip("."),
        options={f.name: f.default for f in fields if not f.metadata.get("rest")},
        extra=vars(module).get("EXTRA", ""),
        rest=any(f.metadata.get("rest") for f in fields),
    )


def at_least(what: str, value: Any, low: float, *, whole: bool = False) -> None:
    """Refuse an option that is no number, or smaller than `low`.

    Args:
        what: The option with its owner, such as ``asha: eta``.
        value: What was given.
        low: The smallest value allowed.
        whole: Whether it must be an integer.

    Raises:
        StudyError: It is not.
    """
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not value >= low:
        kind = "an integer" if whole else "a number"
        raise StudyError(f"{what} must be {kind} from {low:g} up, got {value!r}")


def at_most(what: str, value: float, high: float) -> None:
    """Refuse an option that is larger than `high`.

    Args:
        what: The option with its owner, such as ``nsga2: crossover``.
        value: What was given, a number.
        high: The largest value allowed.

    Raises:
        StudyError: It is larger.
    """
    if value > high:
        raise StudyError(f"{what} must be at most {high:g}, got {value!r}")


def one_of(what: str, value: Any, names: Iterable[str]) -> None:
    """Refuse an option that is none of some names.

    Args:
        what: The option with its owner, such as ``qmc: sequence``.
        value: What was given.
        names: What it may be.

    Raises:
        StudyError: It is none of them (near matches are listed).
    """
    known = tuple(names)
    if value not in known:
        raise StudyError(
            f"{what} must be one of {', '.join(known)}, got {value!r}",
            hint=near_matches(str(value), known),
        )


def needs(what: str, extra: str, *, packages: Iterable[str]) -> None:
    """Refuse what needs packages that are not installed.

    Args:
        what: ``sampler`` or ``stopping rule``, for the message.
        extra: The extra with the packages, which is also its name.
        packages: Names to import.

    Raises:
        StudyError: One is missing; says how to install it.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise StudyError(
            f"{what} `{extra}` needs {' and '.join(missing)}, which is not installed",
            hint=f"`pip install 'hpo-harness[{extra}]'`",
        )
