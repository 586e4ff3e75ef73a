"""Clusters of columns against planted blocks, scikit-learn and columns that say who they are."""

from __future__ import annotations

import json
from itertools import combinations

import h5py
import numpy as np
import pytest

from models.data import categories
from models.data.discovery import (
    LINKAGES,
    Options,
    adopted,
    correlated,
    discovered,
    silhouette,
)
from models.data.hdf5 import close_files
from models.errors import DataError

SIZES = (9, 7, 5)


def blocks(rows=400, noise=0.6, seed=0):
    """Columns of three hidden numbers, half of them with the sign turned, shuffled."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(3), SIZES))
    signs = random.choice([-1.0, 1.0], len(labels))
    hidden = random.normal(size=(rows, 3))
    x = signs * hidden[:, labels] + noise * random.normal(size=(rows, len(labels)))
    return x, labels


def rand_index(first, second):
    """Share of pairs of columns that two clusterings agree on."""
    pairs = list(combinations(range(len(first)), 2))
    same = [(first[i] == first[j]) == (second[i] == second[j]) for i, j in pairs]
    return sum(same) / len(pairs)


def labels_of(found):
    out = np.empty(sum(map(len, found.groups.values())), int)
    for label, columns in enumerate(found.groups.values()):
        out[list(columns)] = label
    return out


@pytest.mark.parametrize("linkage", ["", *LINKAGES])
def test_planted_blocks_are_found_whatever_their_signs(linkage):
    x, labels = blocks()
    found = discovered(x, Options(linkage=linkage, most=8))
    assert rand_index(labels_of(found), labels) == 1.0
    assert [len(c) for c in found.groups.values()] == sorted(SIZES, reverse=True)
    assert found.closest < 0.3


def test_units_change_nothing_and_missing_values_little():
    x, labels = blocks()
    random = np.random.default_rng(1)
    scaled = x * random.uniform(0.01, 100, x.shape[1]) + random.normal(size=x.shape[1])
    assert (
        discovered(x, Options(most=8)).groups
        == discovered(scaled, Options(most=8)).groups
    )
    x[random.random(x.shape) < 0.2] = np.nan
    assert rand_index(labels_of(discovered(x, Options(most=8))), labels) == 1.0


def test_an_orphan_goes_to_the_block_that_it_belongs_to_before_anything_is_scored():
    """By |correlation| with a centroid whose signs are aligned: a plain mean cancels out."""
    x, labels = blocks()
    order = np.argsort(labels, kind="stable")
    x, labels = x[:, order], labels[order]
    signs = np.sign(np.corrcoef(x.T)[0, : SIZES[0]])
    x[:, : SIZES[0]] *= signs * np.resize([1.0, -1.0], SIZES[0])  # a mean of nothing
    correlations = correlated(x)
    cut = labels.copy()
    cut[0], cut[-1] = 7, 8  # two columns alone
    again, orphans = adopted(cut, correlations, smallest=3)
    assert orphans == 2
    np.testing.assert_array_equal(again, labels)
    found = discovered(x, Options(linkage="average", most=12))
    assert min(map(len, found.groups.values())) >= 3
    for _, _, left, _, score in found.tried:
        assert left >= 2 and np.isfinite(score)


def test_nothing_moves_where_no_cluster_is_large_enough():
    labels = np.array([1, 1, 2, 2])
    again, orphans = adopted(labels, np.eye(4), smallest=3)
    assert orphans == 0
    np.testing.assert_array_equal(again, labels)


def test_columns_that_have_no_clusters_are_refused():
    with pytest.raises(DataError, match="no two clusters of 3 columns"):
        discovered(np.random.default_rng(0).normal(size=(50, 4)), Options())
    with pytest.raises(DataError, match="column 1 is constant"):
        discovered(np.array([[1.0, 2.0, 3.0], [2.0, 2.0, 1.0]]), Options())


@pytest.mark.oracles
def test_the_silhouette_is_scikit_learns():
    from sklearn.metrics import silhouette_score

    x, labels = blocks(noise=2.0)
    apart = 1 - np.abs(correlated(x))
    random = np.random.default_rng(0)
    for labelled in (labels, random.integers(0, 5, len(labels)), np.r_[9, labels[1:]]):
        wanted = silhouette_score(apart, labelled, metric="precomputed")
        assert silhouette(apart, labelled) == pytest.approx(wanted, abs=1e-12)


# -- by name ----------------------------------------------------------------------------------

NAMES = ("area", "speed", "length", "drift", "angle")
REGISTRY = {"shape": {"area": 40, "length": 42, "angle": 44},
            "motion": {"speed": 41, "drift": 43, "per_step_only": 2}}  # fmt: skip
AGGREGATIONS = 3


@pytest.fixture
def path(tmp_path):
    """Columns that encode who they are: aggregation × 100 + name, whatever the registry says."""
    close_files()
    codes = [100 * a + i for a in range(AGGREGATIONS) for i in range(len(NAMES))]
    rows = np.arange(30)[:, None] + np.array(codes, float)[None]
    path = tmp_path / "features.h5"
    with h5py.File(path, "w") as file:
        summary = file.create_group("features/summary")
        summary.attrs["feature_registry"] = json.dumps(REGISTRY)
        summary["feature_names"] = list(NAMES)
        summary["aggregated/features"] = rows
    return path


def test_a_category_has_its_names_in_every_aggregation(path):
    found = categories.find(str(path), features="/features/summary/aggregated/features")
    assert found.by == "name" and found.columns == 15 and found.rows == 0
    with h5py.File(path) as file:
        said = file["features/summary/aggregated/features"][0].astype(int)
    for category, columns in found.groups.items():
        names = {NAMES[said[c] % 100] for c in columns}
        assert names == set(REGISTRY[category]) & set(NAMES)
        assert sorted({said[c] // 100 for c in columns}) == [0, 1, 2]
        assert len(columns) == AGGREGATIONS * len(names)


def test_names_come_from_a_registrys_own_order_where_nothing_else_tells():
    registry = {"one": {"b": 11, "d": 13}, "two": {"a": 10, "c": 12}}
    found = categories.by_registry(registry, None, columns=8, where="it")
    assert found == {"one": (1, 3, 5, 7), "two": (0, 2, 4, 6)}


@pytest.mark.parametrize(
    "registry,names,words",
    [
        ([], None, "must map categories to names"),
        ({"one": {"a": 0}}, ("a", "b"), "1 .`b`. of 2 are in none"),
        ({"one": ["a", "b"], "two": ["b"]}, ("a", "b"), "in `one` and in `two`"),
        (
            {"one": {"a": 0, "b": 1, "c": 2}},
            None,
            "no whole number of aggregations of 3",
        ),
    ],
)
def test_what_is_no_registry_is_refused(registry, names, words):
    with pytest.raises(DataError, match=words):
        categories.by_registry(registry, names, columns=4, where="the registry")


def test_a_file_that_names_nothing_is_clustered_on_its_train_rows(tmp_path):
    x, labels = blocks()
    close_files()
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["x"] = np.concatenate([x, np.full((1, x.shape[1]), 3.0)], axis=1 - 1)
    split = {"train": [0, 400], "valid": [400, 401]}
    found = categories.find(
        str(tmp_path / "plain.h5"), split=split, options={"most": 8}
    )
    assert found.by == "correlation" and found.rows == 400
    assert rand_index(labels_of(found), labels) == 1.0
    with pytest.raises(DataError, match="does not say which category"):
        categories.find(str(tmp_path / "plain.h5"), by="name")
    with pytest.raises(DataError, match="array `y` is not in"):
        categories.find(str(tmp_path / "plain.h5"), features="y")
