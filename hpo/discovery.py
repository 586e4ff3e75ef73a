"""Families, spaces, studies and tasks found by name: a file in its folder registers it.

Families, spaces and tasks are files of our packages; studies also those in ``./studies``.
Listing reads docstrings and constants from the source text, so nothing heavy is imported;
spaces and studies are imported only when one of them is used.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from hpo.errors import ForeignFailure, StudyError
from hpo.packages import ours
from hpo.study import Study
from hpo.worker.environment import study_lies_in
from models.errors import UserError, near_matches
from search_spaces.space import Space, SpaceError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """One file that registers something.

    Attributes:
        name: The file's stem.
        path: The file.
        description: First line of its docstring.
    """

    name: str
    path: Path
    description: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class FoundFamily(Found):
    """One model family of this project.

    Attributes:
        create: ``module:function`` that makes its learner.
        tasks: What it learns, by the tasks' names.
        closed_form: Whether it is solved rather than trained: one trial, one epoch.
        space: Whether a default space of the same name exists.
    """

    create: str
    tasks: tuple[str, ...]
    closed_form: bool
    space: bool


def families() -> tuple[FoundFamily, ...]:
    """Every family: a module of `models` with `problem` or a `create` of its own, in order."""
    with_space = {f.name for f in spaces()}
    out = []
    for path in _files(ours("models")):
        tree = _readable(path)
        functions = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
        if not functions & {"problem", "create"}:
            continue
        out.append(
            FoundFamily(
                name=path.stem,
                path=path,
                description=_headline(tree),
                create=f"models.{path.stem}:create",
                tasks=_texts(tree, "TASKS"),
                closed_form=bool(_constant(tree, "CLOSED_FORM")),
                space=path.stem in with_space,
            )
        )
    return tuple(out)


def family(name: str) -> FoundFamily:
    """The family of that name.

    Raises:
        StudyError: There is none (near matches are listed).
    """
    found = {f.name: f for f in families()}
    if name not in found:
        raise StudyError(f"unknown family `{name}`", hint=near_matches(name, found))
    return found[name]


def source_keys(name: str) -> dict[str, str]:
    """What the files of the system that a family is from call its keys, by that name.

    Raises:
        StudyError: There is no such family.
    """
    return _literal(name, "SOURCE_KEYS")


def source_values(name: str) -> dict[str, dict[str, dict[Any, Any]]]:
    """What values of those files mean here: their name, our key, their value, ours.

    Raises:
        StudyError: There is no such family.
    """
    return _literal(name, "SOURCE_VALUES")


def _literal(name: str, constant: str) -> dict[str, Any]:
    """A dictionary that a family's file defines, without importing it."""
    node = _assignment(_readable(family(name).path), constant)
    return {} if node is None else dict(ast.literal_eval(node))


def spaces() -> tuple[Found, ...]:
    """Every default space: a module of `search_spaces` that defines `SPACE`."""
    return _defining(ours("search_spaces"), "SPACE")


def space(name: str, *, task: str | None = None) -> Space:
    """The default space of a family.

    Args:
        name: The family's.
        task: What it shall learn; None means the task that its `SPACE` is of.

    Raises:
        StudyError: There is none, or the file does not define a `Space`.
    """
    found = {f.name for f in spaces()}
    if name not in found:
        raise StudyError(f"unknown space `{name}`", hint=near_matches(name, found))
    value = importlib.import_module(f"search_spaces.{name}").SPACE
    if task is not None:
        value = further_spaces(name).get(task, value)
    if not isinstance(value, Space):
        raise StudyError(f"the space in search_spaces/{name}.py is no Space: {value!r}")
    return value


def further_spaces(name: str) -> dict[str, Space]:
    """The spaces that a family has for other tasks than that of `space`, by task."""
    found: dict[str, Space] = vars(
        importlib.import_module(f"search_spaces.{name}")
    ).get("SPACES", {})
    return found


def studies() -> tuple[Found, ...]:
    """Every study: a file that defines `STUDY`, in ``./studies`` or our package `studies`.

    Those of the current folder come first. One of the package that says the very same as
    one of them is left out; any other is there too, even where they share a name.
    """
    package, here = ours("studies"), Path("studies")
    if not here.is_dir() or here.resolve() == package:
        return _defining(package, "STUDY")
    mine = _defining(here.resolve(), "STUDY")
    named = {f.name: f.path for f in mine}
    others = _defining(package, "STUDY")
    return (*mine, *(f for f in others if not _copies(named.get(f.name), f.path)))


def study_file(name: str) -> Path:
    """Where a study is written: a name among `studies`, or a path to a study file.

    Of two studies with the same name that in ``./studies`` is meant.

    Raises:
        StudyError: Neither is there (near matches are listed).
    """
    found = {f.name: f.path for f in reversed(studies())}
    if name in found:
        return found[name]
    looks_like_path = name.endswith(".py") or os.sep in name
    if looks_like_path and Path(name).is_file():
        return Path(name).resolve()
    if looks_like_path:
        raise StudyError(f"there is no study file `{name}`", hint="check the path")
    raise StudyError(
        f"unknown study `{name}`",
        hint=near_matches(name, found) or "give the path of a study file",
    )


def load_study(name: str) -> Study:
    """Run a study file and return its `STUDY`, resolved.

    Args:
        name: A name among `studies`, or a path to a study file.

    Raises:
        StudyError: There is no such study, or it breaks a rule.
        ForeignFailure: The file raised; the message names the file and the line.
    """
    path = study_file(name)
    value = vars(_execute(path)).get("STUDY")
    if not isinstance(value, Study):
        got = "nothing" if value is None else f"a {type(value).__name__}"
        raise StudyError(
            f"{_short(path)} must define `STUDY = Study(...)`; it defines {got}"
        )
    if not value.description:
        value = value.replace(description=_headline(_parse(path)))
    return resolve(value)


def resolve(study: Study) -> Study:
    """Fill in what families say of themselves: closed-form ones get one trial, one epoch."""
    return study.replace(
        families=tuple(
            dataclasses.replace(f, trials=f.trials or 1, epochs=f.epochs or 1)
            if is_closed_form(f.reference)
            else f
            for f in study.families
        )
    )


def tasks_of(reference: str) -> tuple[str, ...] | None:
    """The tasks that a family learns; None where its file does not say.

    Args:
        reference: ``module:function`` of its `create`; the module is read, not imported.
    """
    path = _source_of(reference.partition(":")[0])
    if path is None:
        return None
    tree = _readable(path)
    return _texts(tree, "TASKS") if _assignment(tree, "TASKS") is not None else None


def is_closed_form(reference: str) -> bool:
    """Whether a family is solved rather than trained, by the file of its `create`."""
    path = _source_of(reference.partition(":")[0])
    return path is not None and bool(_constant(_readable(path), "CLOSED_FORM"))


def tasks() -> tuple[Found, ...]:
    """Every task of this project: a module of `models.tasks` that defines ``KINDS``."""
    folder = ours("models") / "tasks"
    parsed = [(path, _readable(path)) for path in sorted(folder.glob("*.py"))]
    return tuple(
        Found(name=path.stem, path=path, description=_headline(tree))
        for path, tree in parsed
        if _assignment(tree, "KINDS") is not None
    )


def _source_of(module: str) -> Path | None:
    """The file of a module, found without importing it; None where there is none."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin)


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("*.py") if not p.stem.startswith("_"))


def _copies(one: Path | None, other: Path) -> bool:
    """Whether both files are there and hold the same."""
    try:
        return one is not None and one.read_bytes() == other.read_bytes()
    except OSError:
        return False


def _defining(folder: Path, constant: str) -> tuple[Found, ...]:
    parsed = [(path, _readable(path)) for path in _files(folder)]
    return tuple(
        Found(name=path.stem, path=path, description=_headline(tree))
        for path, tree in parsed
        if _assignment(tree, constant) is not None
    )


@functools.lru_cache(maxsize=128)
def _parse_text(text: str) -> ast.Module:
    return ast.parse(text)


def _readable(path: Path) -> ast.Module:
    """The file's syntax tree; one that says so where a draft cannot be parsed.

    A broken draft must not hide its neighbours, and using it by name must name its line.
    """
    try:
        return _parse(path)
    except (ForeignFailure, StudyError) as error:
        stand_in = "def problem(): ...\nSTUDY = SPACE = CLOSED_FORM = None"
        return ast.parse(f"{error.message!r}\n{stand_in}")


def _no_text(path: Path, why: str) -> ForeignFailure:
    return ForeignFailure(
        f"{_short(path)} cannot be read as Python: {why}",
        hint="is it a text file in UTF-8?",
    )


def _parse(path: Path) -> ast.Module:
    try:
        return _parse_text(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        if error.lineno is None:  # such as bytes that no text has
            raise _no_text(path, error.msg) from error
        raise ForeignFailure(
            f"{_short(path)}, line {error.lineno}: SyntaxError: {error.msg}"
        ) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise _no_text(path, str(error)) from error
    except OSError as error:
        raise StudyError(
            f"{_short(path)} cannot be read: {error.strerror or error}",
            hint="check its permissions",
        ) from error


def _headline(tree: ast.Module) -> str:
    return (ast.get_docstring(tree) or "").partition("\n")[0].strip()


def _assignment(tree: ast.Module, name: str) -> ast.expr | None:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            targets = [node.target]
        if any(isinstance(t, ast.Name) and t.id == name for t in targets):
            assert isinstance(node, (ast.Assign, ast.AnnAssign))
            return node.value
    return None


def _texts(tree: ast.Module, name: str) -> tuple[str, ...]:
    """A constant that is a tuple of texts; empty where it is none."""
    value = _assignment(tree, name)
    if not isinstance(value, (ast.Tuple, ast.List)):
        return ()
    items = [e.value for e in value.elts if isinstance(e, ast.Constant)]
    return tuple(str(i) for i in items)


def _constant(tree: ast.Module, name: str) -> Any:
    value = _assignment(tree, name)
    return value.value if isinstance(value, ast.Constant) else None


def _execute(path: Path) -> ModuleType:
    """Run a study file under a name of its own, turning what it raises into a message."""
    _parse(path)
    study_lies_in(path.parent)
    # A study of the package keeps its importable name, so workers find its functions too.
    in_package = path.parent == ours("studies")
    module_name = f"studies.{path.stem}" if in_package else f"study_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = (
        module  # dataclasses in the file look themselves up there
    )
    try:
        # Not by the loader: its bytecode knows a file by size and second, and may be stale.
        exec(compile(path.read_bytes(), path, "exec", dont_inherit=True), vars(module))  # noqa: S102
    except (UserError, SpaceError) as error:
        message = error.message if isinstance(error, UserError) else str(error)
        hint = error.hint if isinstance(error, UserError) else None
        raise StudyError(f"{_where(path, error)}: {message}", hint=hint) from error
    except (Exception, SystemExit) as error:
        text = f"{type(error).__name__}: {error}"
        raise ForeignFailure(f"{_where(path, error)}: {text}") from error
    return module


def _where(path: Path, error: BaseException) -> str:
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(path)
    ]
    return f"{_short(path)}, line {lines[-1]}" if lines else _short(path)


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
