"""Nested YAML files: the source's names, our own keys, what is refused, and one that trains."""

from __future__ import annotations

from functools import partial

import pytest

from hpo import discovery
from hpo.check.keys import Checked
from hpo.errors import StudyError
from hpo.report.summary import load_study, load_summary
from hpo.run.configuration_file import read, refuse_other
from hpo.study import Rule
from models import categorical_vqvae, linear, vae, vqvae
from tests.test_hpo.command_line import refused, run

SOURCE = """
dataset_path: vitals/hourly.hdf5
data: {kind: windows, arrays: {values: x}}
task: reconstruction
random_seed: 42
model:
  latent_dim: 32
  base_channels: 64
  dropout: 0.2
  coder: {layout: original}
  divergence.schedule: cyclical
training:
  epochs: 150
  batch_size: 64
  learning_rate: 1.0e-3
  beta: 0.5
  patience: 30
  optimizer: {clip_norm: 1.0}
"""


def asked_of(family):
    """What a configuration class says, asked in this process."""

    def check(pairs):
        ((_, values),) = pairs
        family.Config.from_flat({k: v for k, v in values.items() if k in keys})
        return (Checked(keys=keys),)

    keys = tuple(family.Config.keys())
    return check


def file(place, text):
    path = place / "training.yaml"
    path.write_text(text)
    return path


def test_the_sources_file_becomes_a_study_of_one_trial(tmp_path):
    asked = read("vae", file(tmp_path, SOURCE), check=asked_of(vae))
    study, (family,) = asked.study, asked.study.families
    assert asked.resume_from == "" and study.name == "train_vae"
    assert study.trials_of() == {"vae": 1} and family.space.distributions == {}
    assert family.space.constants == {
        "latent.size": 32,
        "coder.channels": 64,
        "coder.dropout": 0.2,
        "coder.layout": "original",
        "divergence.schedule": "cyclical",
        "data.batch_size": 64,
        "optimizer.learning_rate": 1e-3,
        "divergence.weight": 0.5,
        "optimizer.clip_norm": 1.0,
    }
    assert (study.budget.epochs, study.seed) == (150, 42)
    assert study.stopping[1] == Rule(name="patience", options={"epochs": 30})
    assert study.data == {
        "kind": "windows",
        "arrays": {"values": "x"},
        "path": str(tmp_path / "vitals" / "hourly.hdf5"),
    }


def test_the_sources_levels_and_averages_are_translated(tmp_path):
    text = """
data: {name: some}
task: reconstruction
model:
  levels: [{latent_dim: 32, num_tokens: 128}, {latent_dim: 16, num_tokens: 256}]
  use_ema: false
"""
    read_here = partial(read, "categorical_vqvae", check=asked_of(categorical_vqvae))
    (family,) = read_here(file(tmp_path, text)).study.families
    assert family.space.constants == {
        "levels.count": 2,
        "levels.hierarchy": "parallel",
        "levels.code_size": [32, 16],
        "levels.bits": [7, 8],
        "quantizer.kind": "learned",
    }
    categorical_vqvae.Config.from_flat(family.space.constants)
    one = text.replace(", {latent_dim: 16, num_tokens: 256}", "")
    (family,) = read_here(file(tmp_path, one)).study.families
    assert "levels.hierarchy" not in family.space.constants
    categorical_vqvae.Config.from_flat(family.space.constants)
    with pytest.raises(StudyError, match=r"num_tokens` cannot be 100"):
        read_here(file(tmp_path, text.replace("128", "100")))
    with pytest.raises(StudyError, match=r"`levels` must be mappings of the same keys"):
        read_here(file(tmp_path, text.replace(", num_tokens: 256", "")))


@pytest.mark.parametrize("family", [vae, vqvae, categorical_vqvae])
def test_the_sources_names_stand_for_keys_that_there_are(family):
    assert set(family.SOURCE_KEYS.values()) <= set(family.Config.keys())
    name = family.__name__.removeprefix("models.")
    assert discovery.source_keys(name) == family.SOURCE_KEYS
    assert discovery.source_keys("linear") == {}
    values = getattr(family, "SOURCE_VALUES", {})
    assert discovery.source_values(name) == values
    assert {k for keys in values.values() for k in keys} <= set(family.Config.keys())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trainnig: {}", ["unknown key `trainnig`", "`training`"]),
        ("model: {latent_dmi: 8}", ["`model.latent_dmi`", "`latent_dim`"]),
        ("model: {latent: {siz: 8}}", ["`model.latent.siz`", "`latent.size`"]),
        (
            "model: {latent_dim: 8, latent.size: 8}",
            ["`latent.size` is said twice", "`model.latent.size`"],
        ),
        ("logging: {interval: 1}", ["`logging` has no counterpart", "ledger"]),
        ("training: {epochs: many}", ["`training.epochs`", "'many'"]),
        ("training: {epochs: 0}", ["positive"]),
        ("random_seed: true", ["`random_seed`", "True"]),
        ("training: 3", ["`training` must be a mapping", "3"]),
        ("dataset_path: x", ["both say where the data lies"]),
        ("resume_from: x/checkpoint.pt", ["`resume_from`", "{run: FOLDER}"]),
        ("resume_from: {runs: x}", ["`resume_from`", "`run`"]),
    ],
)
def test_what_is_refused_is_named(tmp_path, text, words):
    path = file(tmp_path, f"data: {{name: some}}\n{text}\n")
    with pytest.raises(StudyError) as caught:
        read("vae", path, check=asked_of(vae))
    said = f"{caught.value.message} {caught.value.hint}"
    assert all(word in said for word in words), said


def test_files_that_are_none(tmp_path):
    with pytest.raises(StudyError, match="does not say its data"):
        read("vae", file(tmp_path, "model: {}"), check=asked_of(vae))
    with pytest.raises(StudyError, match="is no YAML"):
        read("vae", file(tmp_path, "model: {"), check=asked_of(vae))
    with pytest.raises(StudyError, match="must hold a mapping"):
        read("vae", file(tmp_path, "- 1"), check=asked_of(vae))
    with pytest.raises(StudyError, match="no file"):
        read("vae", tmp_path / "none.yaml", check=asked_of(vae))


def test_a_run_goes_on_with_the_values_it_began_with(tmp_path):
    text = "data: {name: some}\ntask: reconstruction\n"
    one = read("vae", file(tmp_path, text), check=asked_of(vae))
    path = file(tmp_path, f"{text}resume_from: {{run: train_vae/a}}\n")
    two = read("vae", path, check=asked_of(vae))
    assert two.resume_from == "train_vae/a"
    refuse_other(two.study, one.study, path)
    path = file(tmp_path, f"{text}model: {{latent_dim: 9}}\n")
    other = read("vae", path, check=asked_of(vae)).study
    with pytest.raises(StudyError, match=r"`latent.size` 9, and the run .* None"):
        refuse_other(other, one.study, path)
    path = file(tmp_path, text.replace("some", "others"))
    other = read("vae", path, check=asked_of(vae)).study
    with pytest.raises(StudyError, match=r"`data` {'name': 'others'}"):
        refuse_other(other, one.study, path)


@pytest.mark.slow
def test_a_file_trains(tmp_path):
    data = linear.example("simulation").described.write_example(tmp_path / "data")
    text = f"dataset_path: {data['path']}\ntask: simulation\nmodel: "
    where = "--results", tmp_path / "results", "--executor", "local"
    wrong = file(tmp_path, f"{text} {{lagz: 3}}\n")
    refused(run("train", "linear", "--config", wrong, *where), "`model.lagz`", "lags")
    text += "{lags: 3, model.ridge: 0.0}\n"
    result = run("train", "linear", "--config", file(tmp_path, text), *where)
    assert result.exit_code == 0, result.output
    (folder,) = (tmp_path / "results" / "train_linear").glob("2*")
    summary = load_summary(folder)
    assert [r.state for r in summary.rows] == ["completed"]
    assert load_study(folder).families[0].space.constants == {
        "model.lags": 3,
        "model.ridge": 0.0,
    }
    assert load_study(folder).described_task["name"] == "simulation"
    again = file(tmp_path, f"{text}resume_from: {{run: {folder}}}\n")
    result = run("train", "linear", "--config", again, *where)
    assert result.exit_code == 0, result.output
    assert load_summary(folder).rows[0].epochs == 1
