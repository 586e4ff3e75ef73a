"""A preview of a study, found out before anything of it is trained."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo import packages
from hpo.check import corners as edges
from hpo.check.traced import refuse_static
from hpo.director import Director
from hpo.report.summary import load_summary
from hpo.run.launch import launch
from hpo.run.plan import plan
from hpo.run.sources import as_run, creates_of
from hpo.stopping.population import changed_keys
from hpo.study import Budget, Family, Study
from hpo.tasks import with_task

PROBED = 2  # epochs of a probe


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """The seconds that two epochs at a family's first point took.

    Attributes:
        seconds: Of one epoch, without compiling.
        compile_seconds: Of the first epoch.
        error: Why it failed; empty when it did not.
    """

    seconds: float = 0.0
    compile_seconds: float = 0.0
    error: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FamilyPreview:
    """One family of the study.

    Attributes:
        name: Its name.
        trials: How many it gets.
        epochs: Budget of a trial.
        rungs: Epochs at which trials are compared.
        corners: Points that were looked at: the first one, and it with one dimension or
            two at each of their ends.
        signatures: Compilations among them; None where the family cannot tell.
        parameters: Smallest and largest number of trained numbers; None likewise.
        memory: Bytes of the largest, estimated from above; None likewise.
        refused: Corners that the family refuses, with its answer; only those with the fewest
            dimensions at an end.
        probe: What two epochs took; None when not asked for.
    """

    name: str
    trials: int
    epochs: int
    rungs: tuple[int, ...]
    corners: int
    signatures: int | None
    parameters: tuple[int, int] | None
    memory: int | None
    refused: tuple[tuple[edges.Corner, edges.Shape], ...] = ()
    probe: Probe | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preview:
    """A study before its launch.

    Attributes:
        study: As it would run, workers counted.
        families: In the study's order.
        changing: Keys that change while a family's trials are trained.
        remarks: What a person should know of budget and sampler, in words.
    """

    study: Study
    families: tuple[FamilyPreview, ...]
    changing: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def seconds(self) -> float | None:
        """Time of the run if nothing is stopped early; None without successful probes."""
        total = 0.0
        for family in self.families:
            if family.probe is None or family.probe.error:
                return None
            total += family.trials * family.epochs * family.probe.seconds
            compiled = min(family.signatures or 1, family.trials)
            total += compiled * family.probe.compile_seconds
        return total / (self.study.resources.workers or 1)


def preview(study: Study, *, data_root: Path | None, probe: bool) -> Preview:
    """Resolve a study and look at the corners of its spaces.

    Args:
        study: As described.
        data_root: Where real datasets lie.
        probe: Whether to train two epochs of each family's first point.

    Raises:
        UserError: Study, spaces, data or machine do not fit.
    """
    study = with_task(study, root=data_root)
    study = as_run(study, workers=plan(study.resources).workers)
    director = Director(study, workers=study.resources.seats)
    refuse_static(study, creates_of(study, None))
    data = packages.prepare_data(study.data, root=data_root)
    packages.check_data(study.described_task, data)
    asked = [(f, edges.corners(f.space, _first(f))) for f in study.families]
    shapes = edges.shapes(
        [
            (f.reference, [_whole(study, f, corner.point) for corner in found])
            for f, found in asked
        ],
        data=data,
        task=study.described_task,
    )
    return Preview(
        study=study,
        changing=changed_keys(study),
        remarks=director.remarks,
        families=tuple(
            dataclasses.replace(
                _preview(study, director, family, found, own),
                probe=_probe(study, family, data_root) if probe else None,
            )
            for (family, found), own in zip(asked, shapes, strict=True)
        ),
    )


def _first(family: Family) -> Mapping[str, Any]:
    return family.initial_points[0] if family.initial_points else {}


def _whole(study: Study, family: Family, point: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration a trial would get; a family takes the settings that it knows."""
    return {**study.settings, **family.space.complete(point)}


def _preview(
    study: Study,
    director: Director,
    family: Family,
    corners: list[edges.Corner],
    shapes: tuple[edges.Shape, ...],
) -> FamilyPreview:
    signatures = {s.signature for s in shapes if s.signature}
    sizes = [s.parameters for s in shapes if s.parameters is not None]
    needs = [s.memory for s in shapes if s.memory is not None]
    return FamilyPreview(
        name=family.name,
        trials=study.trials_of()[family.name],
        epochs=study.epochs_of(family.name),
        rungs=director.rungs(family.name),
        corners=len(corners),
        signatures=len(signatures) or None,
        parameters=(min(sizes), max(sizes)) if sizes else None,
        memory=max(needs, default=None),
        refused=_refused(corners, shapes),
    )


def _refused(
    corners: list[edges.Corner], shapes: tuple[edges.Shape, ...]
) -> tuple[tuple[edges.Corner, edges.Shape], ...]:
    """The refusals, less the corners that follow from others: those come first."""
    out: list[tuple[edges.Corner, edges.Shape]] = []
    for corner, shape in zip(corners, shapes, strict=True):
        if shape.error and not any(found.within(corner) for found, _ in out):
            out.append((corner, shape))
    return tuple(out)


def _probe(study: Study, family: Family, data_root: Path | None) -> Probe:
    """Train two epochs in a run of their own, which is thrown away."""
    point = edges.middle(family.space, _first(family))
    epochs = min(PROBED, study.epochs_of(family.name))
    small = study.replace(
        name="probe",
        families=(
            dataclasses.replace(
                family, trials=1, epochs=epochs, initial_points=(point,)
            ),
        ),
        budget=Budget(trials=1, epochs=epochs),
        stopping=(),
        fixed=(),
        evaluate="",
        resources=dataclasses.replace(study.resources, executor="local", workers=1),
    )
    with tempfile.TemporaryDirectory(prefix="hpo-probe-") as place:
        outcome = launch(small, results=place, data_root=data_root)
        (row,) = load_summary(outcome.folder).rows
    if not row.epochs:
        return Probe(error=row.reason or row.state)
    return Probe(seconds=row.seconds / row.epochs, compile_seconds=row.compile_seconds)
