"""Building, caching and switching the compiled kernels, in real processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from models.errors import ConfigError
from models.layers.kernels import build, compiled
from models.layers.kernels.build import LEVELS

ROOT = Path(__file__).parents[2]
ASK = """
import json
from models.layers.kernels import compiled
print(json.dumps([compiled.choice(), compiled.reason()]))
"""


def start(cache, **variables):
    environment = os.environ | {"HPO_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
    environment.pop("HPO_KERNELS", None)
    return subprocess.Popen(
        [sys.executable, "-c", ASK],
        env=environment | variables,
        stdout=subprocess.PIPE,
        text=True,
    )


def answer(process):
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return json.loads(out)


@pytest.fixture
def object_file(monkeypatch):
    """The session's own object, compiled by the real compiler."""
    monkeypatch.delenv("HPO_KERNELS", raising=False)
    choice = compiled.choice()
    if choice == "off":
        pytest.skip(compiled.reason())
    folder = Path(os.environ["HPO_CACHE"]) / "kernels"
    (path,) = folder.glob(f"*-{choice.rpartition(':')[2]}.so")
    return path


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")
@pytest.mark.parametrize("level", list(LEVELS))
def test_the_sources_compile_for_every_level(level, tmp_path):
    """Other tests are skipped where kernels are off; broken sources must not look like it."""
    path = build._compile(tmp_path, "key", level)
    assert path.stat().st_size > 10_000


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")
def test_they_are_on_where_compiler_and_processor_allow(monkeypatch):
    monkeypatch.delenv("HPO_KERNELS", raising=False)
    try:
        level = build.choose_level("on")
    except build.Unavailable as error:
        pytest.skip(str(error))
    assert compiled.choice().startswith(f"{level}:"), compiled.reason()


@pytest.fixture
def compiler(tmp_path, object_file):
    """The PATH of a compiler that takes its time, keeps a log, and gives that object."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "g++"
    script.write_text(
        f"""#!/bin/sh
echo "$@" >> {tmp_path}/log
while [ "$1" != -o ]; do shift; done
sleep 0.5
cp {object_file} "$2"
"""
    )
    script.chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


def compilations(tmp_path):
    """How many objects were made: each is linked once."""
    return (tmp_path / "log").read_text().count("-shared")


def test_processes_at_once_build_one_object(tmp_path, compiler, object_file):
    cache = tmp_path / "cache"
    started = [start(cache, PATH=compiler) for _ in range(3)]
    answers = [answer(p) for p in started]
    assert answers == [[compiled.choice(), ""]] * 3
    assert compilations(tmp_path) == 1
    (path,) = (cache / "kernels").glob("*.so")
    assert path.name == object_file.name
    left = [p.name for p in (cache / "kernels").glob(".*") if p.suffix != ".lock"]
    assert not left, "a draft was left"
    assert (cache / "kernels").stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
def test_the_same_sources_give_the_same_object(tmp_path, object_file):
    del object_file
    assert answer(start(tmp_path / "cache")) == [compiled.choice(), ""]


def test_a_cached_object_needs_no_compiler(tmp_path, object_file):
    kept = tmp_path / "kernels"
    kept.mkdir()
    shutil.copy(object_file, kept)
    (tmp_path / "empty").mkdir()
    found = answer(start(tmp_path, PATH=str(tmp_path / "empty")))
    assert found == [compiled.choice(), ""]


def test_what_is_begun_ahead_is_built_once_and_without_jax(
    tmp_path, compiler, object_file
):
    """A driver begins it and goes on; whoever needs the object waits for that build."""
    cache = tmp_path / "cache"
    begin = "import sys; from models.layers.kernels import build; build.begin()"
    code = f"{begin}; assert 'jax' not in sys.modules"
    environment = os.environ | {"HPO_CACHE": "cache", "PYTHONPATH": str(ROOT)}
    environment |= {"PATH": compiler, "HPO_KERNELS": "on"}
    for _ in range(2):
        command = [sys.executable, "-c", code]
        subprocess.run(command, env=environment, cwd=tmp_path, check=True)
    assert answer(start(cache, PATH=compiler)) == [compiled.choice(), ""]
    assert compilations(tmp_path) == 1
    (path,) = (cache / "kernels").glob("*.so")
    assert path.name == object_file.name


def test_what_a_killed_build_left_is_removed(tmp_path, compiler, object_file):
    key = object_file.name.partition("-")[0]
    left = tmp_path / "cache" / "kernels" / f".{key}-abc"
    left.mkdir(parents=True)
    (left / "gru.o").write_text("half")
    assert answer(start(tmp_path / "cache", PATH=compiler)) == [compiled.choice(), ""]
    assert not left.exists()


def test_without_a_compiler_it_is_off_and_says_so(tmp_path):
    choice, reason = answer(start(tmp_path / "cache", PATH=str(tmp_path)))
    assert choice == "off"
    assert reason


@pytest.mark.parametrize("content", [b"no object at all", None])
def test_a_broken_object_is_built_again(tmp_path, compiler, object_file, content):
    """Damage is noticed by hash, before the loader meets it; None cuts the file in half."""
    broken = tmp_path / "cache" / "kernels" / object_file.name
    broken.parent.mkdir(parents=True)
    good = object_file.read_bytes()
    broken.write_bytes(good[: len(good) // 2] if content is None else content)
    assert answer(start(tmp_path / "cache", PATH=compiler)) == [compiled.choice(), ""]
    assert compilations(tmp_path) == 1
    assert broken.read_bytes() == good


def test_a_compiler_that_fails_is_no_error(tmp_path, object_file):
    del object_file
    compiler = tmp_path / "g++"
    compiler.write_text("#!/bin/sh\necho 'x.cpp:1: error: no such flag' >&2\nexit 1\n")
    compiler.chmod(0o755)
    choice, reason = answer(start(tmp_path / "cache", PATH=f"{tmp_path}:/usr/bin:/bin"))
    assert choice == "off"
    assert "no such flag" in reason


def test_a_cache_that_cannot_be_made_is_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    choice, reason = answer(start(tmp_path / "file" / "cache"))
    assert choice == "off"
    assert reason


def test_the_sources_are_in_the_wheel():
    """`pip install .` copies what `package-data` names, and nothing else but modules."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["models.layers.kernels"]
    for path in Path(compiled.__file__).parent.iterdir():
        if path.is_file() and path.suffix != ".py":
            assert any(path.match(pattern) for pattern in patterns), path


def test_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("HPO_KERNELS", "off")
    assert compiled.choice() == "off"
    assert "HPO_KERNELS" in compiled.reason()


@pytest.mark.parametrize(
    ("wanted", "has", "level"),
    [
        ("on", ("x86-64-v3", "x86-64-v4"), "x86-64-v4"),
        ("on", ("x86-64-v3",), "x86-64-v3"),
        ("x86-64-v3", ("x86-64-v3", "x86-64-v4"), "x86-64-v3"),
        ("x86-64-v4", ("x86-64-v3",), "x86-64-v3"),
        ("on", (), None),
    ],
)
def test_the_widest_level_that_is_allowed_and_there(monkeypatch, wanted, has, level):
    monkeypatch.setattr(build.sys, "platform", "linux")
    monkeypatch.setattr(build.platform, "machine", lambda: "x86_64")
    flags = frozenset().union(*(LEVELS[name].needs for name in has))
    monkeypatch.setattr(build, "_processor_flags", lambda: flags)
    if level is None:
        with pytest.raises(build.Unavailable, match="AVX2"):
            build.choose_level(wanted)
    else:
        assert build.choose_level(wanted) == level


def test_an_unknown_value_is_refused(monkeypatch):
    monkeypatch.setenv("HPO_KERNELS", "x86-64-v5")
    with pytest.raises(ConfigError, match="HPO_KERNELS") as caught:
        compiled.choice()
    assert "x86-64-v4" in caught.value.hint
