"""The tables of finished curves: small ones in their layout, and the real ones."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpo.seeds import derive
from hpo.simulate import catalog, compare
from tests.test_hpo.command_line import refused, run

REAL = os.environ.get("HPO_DATA")
needs_data = pytest.mark.skipif(REAL is None, reason="needs HPO_DATA")


def write_nmt(folder):
    """Two data sets: one of 12 curves with two hyperparameters that vary, one fine-tuned."""
    folder.mkdir()
    names = ["initial_lr", "num_layers", "bpe"]
    grid = list(itertools.product((3e-4, 6e-4, 1e-3), (1, 2, 4, 6), (8,)))
    values = np.array([*grid, *((1e-4, n, 8) for n in (2, 4))], float)
    lengths = np.array([4, 5, 6, 7, 8, 9] * 2 + [3, 3])
    curves = np.full((14, 9), np.nan, np.float32)
    for i, length in enumerate(lengths):
        curves[i, :length] = 5 + i + 10 / np.arange(1, length + 1)
    text = h5py.string_dtype()
    with h5py.File(folder / "hpo_nmt.hdf5", "w") as file:
        group = file.create_group("nmtlc")
        for name, column in (
            ("task", ["scratch"] * 12 + ["finetune"] * 2),
            ("dataset_name", ["xx-yy"] * 12 + ["zz-yy"] * 2),
            ("basemodel", [""] * 12 + ["big", "small"]),
        ):
            group.create_dataset(name, data=column, dtype=text)
        group["hyperparams"] = values
        group["hyperparams"].attrs["names"] = names
        group["perplexity_curve"], group["curve_len"] = curves, lengths
    return curves, lengths, values


def test_nmt_is_a_pool_for_each_data_set(tmp_path):
    curves, lengths, values = write_nmt(tmp_path / "hpo_nmt")
    table = catalog.open_table("hpo_nmt", root=tmp_path)
    assert table.tasks == ("finetune-zz-yy", "xx-yy")
    task = table.task("xx-yy")
    (pool,) = task.curves.values()
    assert task.epochs == 6 and pool.size == 12  # the median of 4 … 9, rounded down
    assert list(pool.space.distributions) == ["initial_lr", "num_layers"]
    shown = [str(d) for d in pool.space.distributions.values()]
    assert "high=2" in shown[0] and "high=3" in shown[1]
    ladder = [3e-4, 6e-4, 1e-3], [1, 2, 4, 6]
    for row in range(12):
        point = {
            "initial_lr": ladder[0].index(values[row, 0]),
            "num_layers": ladder[1].index(values[row, 1]),
        }
        found = [e.valid["perplexity"] for e in pool.curve(point, 0).epochs]
        assert found == curves[row, : min(lengths[row], 6)].tolist()
    best = np.sort([np.nanmin(curves[r, :6]) for r in range(12)])
    assert (task.best, task.median) == (best[0], np.median(best))
    fine = table.task("finetune-zz-yy").curves["hpo_nmt"].space
    assert list(fine.distributions) == ["num_layers", "basemodel"]


def write_fcnet(folder):
    folder.mkdir()
    space = {"activation": ["relu", "tanh"], "batch_size": [8, 16, 32], "rate": [0.1]}
    errors = np.random.default_rng(0).uniform(1, 2, (2, 3, 1, 4)).astype(np.float32)
    mean = errors.mean(axis=-1, dtype=float)
    with h5py.File(folder / "hpo_fcnet.hdf5", "w") as file:
        file.attrs["axes"] = json.dumps([*space, "seed"])
        file.attrs["search_space"] = json.dumps(space)
        file["made"] = errors
        file["made"].attrs["best_mean_over_seeds"] = mean.min()
        file["made"].attrs["median_mean_over_seeds"] = np.median(mean)
    return errors


def test_fcnet_trains_with_one_seed_and_is_judged_by_all(tmp_path):
    errors = write_fcnet(tmp_path / "hpo_fcnet")
    task = catalog.open_table("hpo_fcnet", root=tmp_path).task("made")
    (grid,) = task.curves.values()
    point = {"activation": "tanh", "batch_size": 2, "rate": 0}
    seen = {grid.curve(point, derive(i)).epochs[0].valid["mse"] for i in range(60)}
    assert seen == {float(e) for e in errors[1, 2, 0]}
    assert grid.mean(point) == pytest.approx(errors[1, 2, 0].mean(dtype=float))
    assert task.epochs == 1 and len(grid.curve(point, 0).epochs) == 1
    plan = compare.Plan(
        source=compare.Source(table="hpo_fcnet", root=tmp_path),
        tasks=("made",),
        methods=compare.parse_methods("random", "none"),
        budgets=(1, 200),
        studies=3,
    )
    found = compare.compare(plan, processes=1).outcomes
    means = (errors.mean(axis=-1, dtype=float) - task.best) / (task.median - task.best)
    allowed = sorted({round(float(m), 9) for m in means.ravel()})
    assert all(round(o.regret, 9) in allowed for o in found)
    # After 200 draws the lowest single value of all has been seen: its mean is the regret.
    lowest = np.unravel_index(errors.argmin(), errors.shape)[:3]
    expected = (errors[lowest].mean(dtype=float) - task.best) / (
        task.median - task.best
    )
    assert [o.regret for o in found if o.budget == 200] == pytest.approx([expected] * 3)


def test_a_task_that_a_table_has_not_gets_near_matches(tmp_path):
    write_nmt(tmp_path / "hpo_nmt")
    given = ["--data", tmp_path, "--tasks"]
    refused(run("simulate", "hpo_nmt", *given, "xx-yz"), "xx-yz", "`xx-yy`")
    refused(run("simulate", "hpo_nmt", *given, ","), "names no task")
    result = run("simulate", "hpo_nmt", *given, "xx-yy", "--seeds", 3, "--budget", 5)
    assert result.exit_code == 0 and "random halving" in result.stdout, result.stderr
    assert "the nearest one" in result.stderr


def test_a_table_may_be_named_by_the_path_of_its_folder(tmp_path, monkeypatch):
    write_nmt(tmp_path / "hpo_nmt")
    monkeypatch.delenv("HPO_DATA", raising=False)
    settings = ["--seeds", 3, "--budget", 5, "--tasks", "xx-yy"]
    settings += ["--stopping", "default,none,screening", "--sampler", "random,tpe"]
    by_name = run("simulate", "hpo_nmt", "--data", tmp_path, *settings)
    assert by_name.exit_code == 0 and "tpe screening" in by_name.stdout, by_name.stderr
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for path in (tmp_path / "hpo_nmt", "../hpo_nmt", "../hpo_nmt/"):
        by_path = run("simulate", path, *settings)
        assert by_path.stdout == by_name.stdout, by_path.stderr
    refused(run("simulate", "../hpo_nmt", "--stopping", "own"), "a table is no run")


def test_studies_are_dealt_to_the_tasks_in_turn(tmp_path):
    write_nmt(tmp_path / "hpo_nmt")
    plan = compare.Plan(
        source=compare.Source(table="hpo_nmt", root=tmp_path),
        tasks=("finetune-zz-yy", "xx-yy"),
        methods=compare.parse_methods("random", "none,screening:epochs=2:keep=1"),
        budgets=(1, 2),
        studies=5,
    )
    found = compare.compare(plan, processes=1).outcomes
    assert {(o.study, o.task) for o in found} == {
        (i, plan.tasks[i % 2]) for i in range(5)
    }
    assert len(found) == 5 * 2 * 2 and all(o.regret is not None for o in found)
    assert all(o.trials <= 2 for o in found if o.task.startswith("fine") and o.trials)


def test_a_missing_package_is_named_with_its_remedy(tmp_path, monkeypatch):
    from hpo.simulate.tables import hpo_lcbench_surrogate as lcbench

    (tmp_path / "hpo_lcbench_surrogate").mkdir()
    monkeypatch.setattr(lcbench, "find_spec", lambda name: None)
    refused(
        run("simulate", "hpo_lcbench_surrogate", "--data", tmp_path),
        "needs `onnxruntime`",
        "pip install 'hpo-harness[surrogate]'",
    )


# -- the real ones --------------------------------------------------------------------------


@pytest.mark.data
@needs_data
def test_the_surrogate_gives_the_curves_of_its_own_table():
    pytest.importorskip("onnxruntime")
    table = catalog.open_table("hpo_lcbench_surrogate")
    assert len(table.tasks) == 34
    path = Path(REAL) / "hpo_lcbench_surrogate" / "lcbench_surrogate_table.hdf5"
    with h5py.File(path) as file:
        configs = file["config"][:]
        accuracy, seconds = file["3945/val_accuracy"][:], file["3945/time"][:]
    task = table.task("3945")
    (curves,) = task.curves.values()
    names = list(curves.space.distributions)
    for row in range(0, 1000, 50):
        found = curves.curve(dict(zip(names, configs[row], strict=True)), 0).epochs
        errors = [e.valid["error"] for e in found]
        # A network in single precision whose output is around 100: 1e-5 of that.
        np.testing.assert_allclose(errors, 100 - accuracy[row, 1:], atol=1e-3)
        total = sum(e.seconds for e in found)
        assert total >= seconds[row, -1] * 0.999
    whole = (100 - accuracy[:, 1:]).min(axis=1)  # other points of the same space
    spread = np.median(whole) - whole.min()
    assert abs(task.best - whole.min()) < 0.05 * spread
    assert abs(task.median - np.median(whole)) < 0.05 * spread


@pytest.mark.data
@needs_data
def test_the_real_curves_of_nmt_are_all_there():
    table = catalog.open_table("hpo_nmt")
    tasks = [table.task(name) for name in table.tasks]
    assert sum(task.size for task in tasks) == 2483
    with h5py.File(Path(REAL) / "hpo_nmt" / "hpo_nmt.hdf5") as file:
        rows = file["nmtlc/dataset_name"].asstr()[...] == "ted-ru-en"
        best = file["nmtlc/perplexity_optimal"][...][rows].min()
    assert table.task("ted-ru-en").best >= best - 1e-4


@pytest.mark.data
@needs_data
def test_the_optima_of_fcnet_are_the_papers():
    table = catalog.open_table("hpo_fcnet")
    found = {name: table.task(name).best for name in table.tasks}
    assert found == pytest.approx(
        {
            "naval_propulsion": 3.191e-5,
            "parkinsons_telemonitoring": 6.706e-3,
            "protein_structure": 0.22138,
            "slice_localization": 1.916e-4,
        },
        rel=1e-3,
    )
    with h5py.File(Path(REAL) / "hpo_fcnet" / "hpo_fcnet.hdf5") as file:
        errors = file["protein_structure"][...].mean(axis=-1, dtype=float)
    task = table.task("protein_structure")
    assert errors.min() == pytest.approx(task.best, rel=1e-6)


@pytest.mark.data
@needs_data
def test_the_command_reads_the_real_tables():
    given = ["--seeds", 8, "--budget", 5, "--sampler", "random", "--format", "csv"]
    for table in ("hpo_nmt", "hpo_fcnet"):
        result = run("simulate", table, *given, "--stopping", "none,asha")
        assert result.exit_code == 0, result.stderr
        assert len(result.stdout.splitlines()) == 1 + 2 * 3
