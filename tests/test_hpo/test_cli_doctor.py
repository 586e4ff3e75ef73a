"""`hpo doctor`: each check against a machine made for it, and the whole on this one."""

from __future__ import annotations

import importlib.metadata
import json
import time
from pathlib import Path

import psutil
import pytest

from hpo import packages
from hpo.doctor import examination, installation, machine
from hpo.doctor.finding import Finding
from hpo.doctor.trial import trial
from tests.test_hpo import sample_run
from tests.test_hpo.command_line import refused, run

FINDINGS = (
    Finding(check="python", status="ok", found="3.11.2 (/opt/hpo/bin/python)"),
    Finding(
        check="open files",
        status="warning",
        found="at most 1024",
        remedy="`ulimit -n 4096`",
    ),
    Finding(
        check="cache",
        status="error",
        found="/var/empty/hpo cannot be written: Read-only file system",
        remedy="check its permissions, or choose another folder with HPO_CACHE",
    ),
)


@pytest.fixture
def findings(monkeypatch):
    """The findings of the examination, to be changed by a test."""
    found = list(FINDINGS)
    monkeypatch.setattr(examination, "examine", lambda **_: iter(found))
    return found


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_the_table_looks_as_it_should(columns, findings):
    result = run("doctor", "--no-trial", columns=columns)
    assert result.exit_code == 1
    assert max(map(len, result.stdout.splitlines())) <= columns
    sample_run.check_golden(f"doctor-{columns}.txt", result.stdout)
    assert "error: 1 check failed" in result.stderr and "hint: " in result.stderr


def test_without_a_terminal_it_is_80_columns_wide(findings, monkeypatch):
    from typer.testing import CliRunner

    from hpo.cli.main import app

    monkeypatch.delenv("COLUMNS", raising=False)
    bare = CliRunner().invoke(app, ["doctor", "--no-trial"], prog_name="hpo")
    assert (
        bare.stdout == run("doctor", "--no-trial").stdout and "\x1b" not in bare.stdout
    )


def test_warnings_alone_are_no_failure(findings):
    findings.pop()
    result = run("doctor", "--no-trial", "--format", "json")
    assert result.exit_code == 0 and "1 warning" in result.stderr
    record = json.loads(result.stdout)[1]
    assert record == {
        "check": "open files",
        "status": "warning",
        "found": "at most 1024",
        "remedy": "`ulimit -n 4096`",
    }


def test_mistakes():
    refused(run("doctor", "--format", "csv"), "csv", status=2)
    refused(run("doctor", "--timeout", "soon"), "duration")


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, None),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "150000 100000"}, 1.5),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5),
    ],
)
def test_a_containers_quota_of_cores(files, cores, tmp_path, monkeypatch):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert machine.cpu_quota(tmp_path) == cores
    monkeypatch.setattr("hpo.worker.environment.cores", lambda: 4)
    found = machine.cores(tmp_path)
    assert found.status == ("ok" if cores is None else "warning")
    assert ("`--workers 1`" in found.remedy) == (cores is not None)


def test_a_containers_memory_counts(tmp_path, monkeypatch):
    monkeypatch.setattr("hpo.worker.environment.cores", lambda: 1)
    (tmp_path / "memory.max").write_text(f"{400 << 20}\n")
    (tmp_path / "memory.current").write_text(f"{100 << 20}\n")
    found = machine.memory(tmp_path)
    assert found.status == "error" and "container" in found.found
    (tmp_path / "memory.max").write_text("max\n")
    assert "available" in machine.memory(tmp_path).found


def test_the_limit_on_open_files_is_this_process_own():
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
        found = machine.open_files()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (found.status, found.found) == ("warning", "at most 512")
    assert "ulimit -n" in found.remedy


def test_folders_that_can_and_cannot_be_written(tmp_path):
    fine = machine.disk("results", tmp_path / "not" / "yet")
    assert fine.status in ("ok", "warning") and "free" in fine.found
    assert not (tmp_path / "not").exists()
    (tmp_path / "file").write_text("x" * 1000)
    bad = machine.disk("results", tmp_path / "file" / "results")
    assert bad.status == "error" and "--results" in bad.remedy
    sized = machine.disk("cache", tmp_path)
    assert "holds 1 kB" in sized.found
    if Path("/proc/self").exists():
        assert machine.disk("cache", Path("/proc/x")).status == "error"


def test_another_package_of_our_name_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert {f.status for f in installation.packages()} == {"ok"}
    other = tmp_path / "site" / "other_models-1.0.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Name: other-models\nVersion: 1.0\n")
    (other / "top_level.txt").write_text("models\n")
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "__init__.py").write_text("")
    found = {f.check: f for f in installation.packages()}
    assert found["package models"].status == "warning"
    assert "pip uninstall other-models" in found["package models"].remedy
    assert "hidden from scripts started here" in found["package studies"].found
    assert found["package hpo"].status == "ok"


def test_the_sources_that_were_installed_hide_nothing(tmp_path, monkeypatch):
    """As after README's first command: `pip install .`, then work in the checkout."""
    checkout = tmp_path / "a checkout"
    (checkout / "studies").mkdir(parents=True)
    (checkout / "studies" / "__init__.py").write_text("")
    installed = tmp_path / "site" / "hpo_harness-9.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Name: hpo-harness\nVersion: 9\n")
    origin = {"url": checkout.as_uri(), "dir_info": {}}
    (installed / "direct_url.json").write_text(json.dumps(origin))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.chdir(checkout)
    found = {f.check: f for f in installation.packages()}["package studies"]
    assert (
        found.status == "ok" and "scripts started here use its sources" in found.found
    )
    (tmp_path / "studies.py").write_text("")
    monkeypatch.chdir(tmp_path)
    found = {f.check: f for f in installation.packages()}["package studies"]
    assert found.status == "warning"


def test_a_package_of_another_place_is_an_error(monkeypatch):
    monkeypatch.setattr(packages, "_ROOT", Path("/somewhere/else"))
    found = list(installation.packages())
    assert [f.check for f in found] == [f"package {p}" for p in packages.PACKAGES]
    assert {f.status for f in found} == {"error"} and found[0].remedy


def test_versions_are_held_against_what_is_required(monkeypatch):
    wanted = ["numpy>=2", "rich<1", "no-such-package>=3", 'torch; extra == "gp"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: wanted)
    monkeypatch.setattr(importlib.metadata, "version", version)
    found = {f.check: f for f in installation.versions()}
    assert found["numpy"].status == "ok" and "torch" not in found
    assert found["rich"].status == "error" and "rich<1" in found["rich"].remedy
    assert found["no-such-package"].found == "not installed"


def version(name):
    known = {"numpy": "2.1.0", "rich": "14.0.0", "hpo-harness": "0.1.0"}
    if name not in known:
        raise importlib.metadata.PackageNotFoundError(name)
    return known[name]


def test_datasets_are_looked_for_where_they_would_be(tmp_path, monkeypatch):
    monkeypatch.delenv("HPO_DATA", raising=False)
    assert installation.datasets(None).status == "ok"
    monkeypatch.setenv("HPO_DATA", str(tmp_path))
    assert installation.datasets(None).status == "warning"
    (tmp_path / "wiener_hammerstein").mkdir()
    found = installation.datasets(None)
    assert found.status == "ok" and found.found.endswith(": wiener_hammerstein")


def test_one_check_that_fails_does_not_hide_the_others(monkeypatch, tmp_path):
    def broken():
        raise RuntimeError("boom")

    monkeypatch.setattr(machine, "cores", broken)
    monkeypatch.setattr(machine, "devices", lambda deadline: iter(()))
    found = {
        f.check: f
        for f in examination.examine(
            results=tmp_path, data_root=None, trial=False, deadline=1
        )
    }
    assert found["cores"].status == "error" and "boom" in found["cores"].found
    assert {"memory", "git", "cache", "compiler", "sampler gp"} <= set(found)


def test_no_answer_of_jax_is_an_error_in_time():
    (found,) = machine.devices(deadline=0.01)
    assert found.status == "error" and "within 0.01 s" in found.found


def test_a_trial_that_takes_too_long_is_ended():
    begin = time.monotonic()
    found = trial(deadline=0.3)
    assert found.status == "error" and "not done within 0.3 s" in found.found
    assert time.monotonic() - begin < 30
    assert not [p for p in psutil.Process().children() if "quickstart" in words(p)]


def words(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["local", "ray"])
def test_a_trial_trains_one_epoch(executor):
    found = trial(deadline=240, executor=executor)
    assert found.status == "ok", found
    assert found.found.startswith("1 epoch in ")


@pytest.mark.slow
def test_this_machine_is_examined(monkeypatch):
    result = run("doctor", "--no-trial", "--format", "json")
    found = {f["check"]: f for f in json.loads(result.stdout)}
    assert found["devices"]["found"].startswith("1 cpu")
    assert found["jax"]["found"] == importlib.metadata.version("jax")
    kernels = found["kernels"]
    assert kernels["status"] == (
        "warning" if kernels["found"].startswith("off") else "ok"
    )
    assert result.exit_code == int(any(f["status"] == "error" for f in found.values()))
    monkeypatch.setenv("HPO_KERNELS", "off")
    off = {f.check: f for f in machine.devices(deadline=120)}["kernels"]
    assert (off.status, off.found) == ("ok", "off: HPO_KERNELS is off")
