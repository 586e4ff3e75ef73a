"""Our packages and those of their modules that the harness asks, reached by name.

Families, tasks and datasets load JAX or h5py, and none of them is known here but by the types of
`models.protocols`; modules are imported when they are first asked.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from collections.abc import Collection, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from hpo.errors import StudyError
from models.protocols import (
    Catalog,
    Categories,
    Codes,
    CompiledKernels,
    Datasets,
    Exporting,
    FoundCategories,
    Kernels,
    Stateful,
    StatefulModels,
    Task,
    Tasks,
)

_ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("hpo", "models", "search_spaces", "studies")


def ours(package: str) -> Path:
    """The folder of one of our packages.

    Args:
        package: One of `PACKAGES`.

    Raises:
        StudyError: Python finds another package of that name first.
    """
    spec = importlib.util.find_spec(package)
    origin = Path(spec.origin).resolve().parent if spec and spec.origin else None
    if origin != _ROOT / package:
        raise StudyError(
            f"Python finds the package `{package}` at {origin or 'no place'}, "
            f"not at {_ROOT / package}",
            hint=f"rename the other `{package}`, or start hpo from another folder",
        )
    return origin


def task_names() -> tuple[str, ...]:
    """Every task of this project, in alphabetical order."""
    return _tasks().names()


def task(described: str | Mapping[str, Any]) -> Task:
    """A task by its name, or by its name and settings.

    Raises:
        UserError: There is no such task, or a setting is refused.
    """
    return _tasks().task_of(described)


def kinds_of(task: str) -> tuple[str, ...]:
    """The kinds of data that a task is learned from."""
    return _tasks().task_of(task).KINDS


def data_kind(data: Any, *, root: Path | None = None) -> str | None:
    """The kind of a study's data; None for what only a foreign `create` understands.

    Args:
        data: As a study names it.
        root: Folder that holds real datasets by name.

    Raises:
        UserError: There is no such data.
    """
    known = _named(data) or _is_reference(data)
    return _catalog().kind_of(data, root=root) if known else None


def datasets() -> tuple[str, ...]:
    """Names of every known dataset, simulated and real."""
    return _catalog().names()


def describe_dataset(name: str) -> dict[str, Any]:
    """The facts of a dataset: the fields of the catalog's description."""
    return dataclasses.asdict(_catalog().describe(name))


def prepare_data(data: Any, *, root: Path | None = None) -> Any:
    """Check and hash a study's data (made first where it is simulated).

    Args:
        data: A dataset's name, a folder, or a mapping with ``name`` or ``path``; None and
            anything else that a foreign `create` may understand is passed through.
        root: Folder that holds real datasets by name.

    Returns:
        A JSON-able reference (path and hash, never arrays).

    Raises:
        UserError: The data is missing, damaged or unsuitable.
    """
    if not _named(data):
        return data
    return _catalog().prepare(data, root=root).to_json()


def categories_of(data: str, **options: Any) -> FoundCategories:
    """The categories of the features of a dataset; see `models.data.categories.find`.

    Args:
        data: Its name, or a path.
        **options: As `find` takes them.

    Raises:
        UserError: The data is missing or damaged, or has no categories.
    """
    found = cast(Categories, _ours("models.data.categories"))
    return found.find(data, **options)


def check_data(task: Mapping[str, Any], reference: Any) -> None:
    """Refuse prepared data that a task cannot be learned from or scored on.

    Args:
        task: Its name and settings; empty for none.
        reference: As `prepare_data` gave it; what is none is passed over.

    Raises:
        UserError: The data does not fit the task.
    """
    if task and _is_reference(reference):
        _tasks().task_of(task).check_reference(reference)


def normalisation(reference: Any) -> dict[str, Any] | None:
    """Mean and standard deviation of the train part by role; None for foreign data.

    Args:
        reference: As `prepare_data` gave it.

    Raises:
        UserError: The data is gone or damaged.
    """
    if not _is_reference(reference):
        return None
    found = cast(Datasets, _ours("models.data.dataset")).open_dataset(reference)
    return {
        part: {role: values.tolist() for role, values in by_role.items()}
        for part, by_role in (
            ("mean", found.statistics.mean),
            ("std", found.statistics.std),
        )
    }


def write_codes(
    path: Path,
    codes: Mapping[str, Mapping[str, Any]],
    attributes: Mapping[str, Any],
) -> Mapping[str, tuple[int, ...]]:
    """Write a model's codes into a new file; the shape of each of its arrays.

    Args:
        path: The file.
        codes: As the learner's `codes` gave them.
        attributes: Further facts of the file.

    Raises:
        UserError: The file is there already or cannot be written.
    """
    return cast(Codes, _ours("models.data.codes")).write(path, codes, attributes)


def stateful(learner: Any) -> Stateful:
    """A trained learner that predicts piece by piece; see `models.stateful`.

    Raises:
        UserError: It holds no state that a prediction could go on from.
    """
    return cast(StatefulModels, _ours("models.stateful")).StatefulRNN(learner)


def write_model(
    learner: Any, folder: Path, about: Mapping[str, Any], *, form: str = "stablehlo"
) -> Mapping[str, Any]:
    """Write a trained learner as a folder of its own; see `models.exporting.write`.

    Args:
        learner: A trained one.
        folder: A new folder.
        about: Plain values that its description holds as well.
        form: ``stablehlo`` or ``onnx``.

    Raises:
        UserError: The learner cannot leave.
    """
    return cast(Exporting, _ours("models.exporting")).write(
        learner, folder, about=about, form=form
    )


def same_layout(reference: Any) -> Any:
    """A recorded data reference in the layout of today's; anything else as it is."""
    if not _is_reference(reference):
        return reference
    return _catalog().recorded(reference).to_json()


def _is_reference(data: Any) -> bool:
    return isinstance(data, Mapping) and {"name", "path", "hashes"} <= set(data)


def _named(data: Any) -> bool:
    return isinstance(data, str) or (
        isinstance(data, Mapping) and ("name" in data or "path" in data)
    )


def _catalog() -> Catalog:
    return cast(Catalog, _ours("models.data.catalog"))


def _tasks() -> Tasks:
    return cast(Tasks, _ours("models.tasks"))


def devices() -> dict[str, int]:
    """How many devices of each kind JAX finds; loads it."""
    ours("models")
    jax = importlib.import_module("jax")
    kinds = [str(device.platform) for device in jax.devices()]
    return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}


def kernels() -> tuple[str, str]:
    """The compiled kernels there are and, where they are off, why; loads JAX.

    Returns:
        For example ``("x86-64-v3:0f3a9c41d2be", "")`` or ``("off", "no compiler")``.
    """
    compiled = cast(CompiledKernels, _ours("models.layers.kernels.compiled"))
    return compiled.choice(), compiled.reason()


def kernel_setting() -> str:
    """The value of ``HPO_KERNELS``; nothing is loaded or compiled.

    Raises:
        UserError: The value is not known.
    """
    return _kernel_build().wanted()


def kernel_level(flags: Collection[str]) -> str:
    """The widest instruction set that kernels could use on some processor; empty for none.

    Args:
        flags: The processor's, as Linux names them.
    """
    return _kernel_build().level_of(flags)


def begin_kernels() -> None:
    """Let compiled kernels that are not there yet be built beside whatever comes next."""
    _kernel_build().begin()


def _kernel_build() -> Kernels:
    return cast(Kernels, _ours("models.layers.kernels.build"))


def _ours(module: str) -> ModuleType:
    """A module of one of our packages, imported now; its protocol is in `models.protocols`."""
    ours(module.partition(".")[0])
    return importlib.import_module(module)
