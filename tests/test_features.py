"""The page of features names what exists, and its checker sees what does not."""

from __future__ import annotations

import re

import pytest

from models import rnn
from tests import features


def test_every_row_names_code_and_a_test_that_exist():
    found = list(features.rows(features.PAGE.read_text()))
    assert len(found) > 40
    wrong = [f"{row.feature}: {w}" for row in found for w in features.faults(row)]
    assert not wrong, "\n".join(wrong)


def test_public_names_of_the_plan_are_told():
    text = features.PAGE.read_text()
    for name in (
        *(
            "compose_losses",
            "skip_n",
            "masked_loss",
            "weighted_source",
            "limit_batches",
        ),
        *("add_noise", "add_bias", "truncate_schedule", "quaternion_augmentation"),
        *("predict", "predict_stateful", "get_state", "set_state", "StatefulRNN"),
        *("HPOptimizer", "n_epochs=100", "TBPTTSource", "plot_batch", "plot_results"),
    ):
        assert name in text, name


def test_the_pages_code_runs_and_what_it_searches_is_known():
    blocks = re.findall(r"```python\n(.*?)```", features.PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 2
    names = {}
    for block in blocks:
        exec(compile(block, str(features.PAGE), "exec"), names)
    space, low = names["space"], {}
    for name, distribution in space.entries().items():
        if hasattr(distribution, "choices"):
            low[name] = distribution.choices[0]
        elif hasattr(distribution, "low"):
            low[name] = distribution.low
    config = rnn.Config.from_flat(space.complete(low))
    assert config.loss.on("last_weight") and config.augmentation.on("noise")
    assert config.data.weighted and config.optimizer.on("skip_norm")


GOOD = {
    "feature": "Noise",
    "our name": "`models.transforms.add_noise`, `augmentation.noise`",
    "mechanism": "adds",
    "code": "`models/transforms/noise.py`",
    "test": "`tests/test_features.py::test_every_row_names_code_and_a_test_that_exist`",
}


def page(**changes):
    cells = {**GOOD, **changes}
    head = "| " + " | ".join(cells) + " |"
    return "\n".join(
        [head, "|---|---|---|---|---|", "| " + " | ".join(cells.values()) + " |"]
    )


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, None),
        ({"test": ""}, "names no test"),
        ({"test": "`tests/test_features.py::test_gone`"}, "no test"),
        ({"our name": "`models.transforms.add_noises`"}, "no name"),
        ({"our name": "`augmentation.noises`"}, "no name"),
        ({"our name": ""}, "neither name nor code"),
        ({"code": "`models/transforms/noises.py`"}, "no file"),
    ],
    ids=str,
)
def test_a_row_that_names_nothing_fails(changes, word):
    (row,) = features.rows(page(**changes))
    found = features.faults(row)
    assert any(word in f for f in found) if word else not found


def test_tables_without_tests_are_not_read():
    assert not list(features.rows("| what | why |\n|---|---|\n| x | y |"))


@pytest.mark.slow
def test_what_fails_or_is_skipped_is_seen(tmp_path, monkeypatch):
    (tmp_path / "test_some.py").write_text(
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_bad(): assert False\n"
        "def test_left(): pytest.skip('not today')\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.setattr(features, "ROOT", tmp_path)
    outcomes = features.run(
        [f"test_some.py::test_{n}" for n in ("good", "bad", "left")]
    )
    names = {test.rpartition("::")[2]: said for test, said in outcomes.others.items()}
    assert names == {"test_bad": "failure", "test_left": "skipped"}
    assert {test.rpartition("::")[2] for test in outcomes.passed} == {"test_good"}
