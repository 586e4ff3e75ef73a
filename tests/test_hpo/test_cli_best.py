"""`hpo best`: what each language's own reader makes of the configuration."""

from __future__ import annotations

import ast
import json

import pytest
import yaml

from hpo.ledger.folder import RunFolder
from tests.test_hpo import sample_run
from tests.test_hpo.command_line import refused, run

READERS = {"python": ast.literal_eval, "json": json.loads, "yaml": yaml.safe_load}
FROM_THE_SPACE = {
    "model.cell": "gru",
    "model.hidden_size": 32,
    "optimizer.learning_rate": 0.0031234,
    "data.window": 250,
    "loss.n_skip": 50,
}


@pytest.fixture
def sample(tmp_path):
    return sample_run.write(tmp_path / "results")


def best(sample, *options):
    return run("best", "sample", *options, "--results", sample.parents[1])


@pytest.mark.parametrize("language", READERS)
def test_each_language_reads_back_the_resolved_configuration(language, sample):
    resolved = {
        "model.cell": "gru",
        "learning_rate": 1e-5,
        "tiny": 5e-324,
        "none": None,
        "yes": True,
        "text": "no",  # YAML 1.1 takes it for False unless it is quoted
        "number as text": "1e3",
        "window": [1, 2.5],
        "nested": {"µ": 'a "b" \n: #c'},
    }
    folder = RunFolder(sample)
    folder.write_json(folder.config_file(1), {"config": resolved})
    result = best(sample, "--as", language)
    assert result.exit_code == 0, result.stderr
    read = READERS[language](result.stdout)
    assert read == resolved
    assert list(read) == list(resolved)
    assert result.stderr.strip() == "rnn, trial 1, rank 1: rmse 0.970 mV"


@pytest.mark.parametrize("damage", [None, "{", "[]", '{"config": 3}', '{"config": {}}'])
def test_without_a_usable_record_the_space_completes_it(damage, sample):
    if damage is not None:
        path = RunFolder(sample).config_file(1)
        path.parent.mkdir(parents=True)
        path.write_text(damage)
    assert json.loads(best(sample).stdout) == FROM_THE_SPACE


def test_the_best_of_one_family(sample):
    result = best(sample, "--family", "linear")
    assert json.loads(result.stdout) == {"model.order": 12}
    assert "trial 2, rank 4" in result.stderr


def test_mistakes(sample):
    refused(best(sample, "--family", "liner"), "no family `liner`", "`linear`")
    refused(best(sample, "--as", "toml"), "toml", "--help", status=2)
    refused(run("best", "smaple", "--results", sample.parents[1]), "`sample`")


def test_nothing_ranked_is_said(sample):
    path = sample / "events.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    refused(best(sample), "no trial of the run is ranked")
    refused(best(sample, "--family", "linear"), "no trial of family `linear`")
