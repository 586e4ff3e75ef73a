"""Building, caching and switching the compiled kernels, in real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import ConfigError
from models.layers.kernels import compiled

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


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A cache that two processes filled at once, and what both said."""
    cache = tmp_path_factory.mktemp("built")
    answers = [answer(p) for p in [start(cache), start(cache)]]
    if answers[0][0] == "off":
        pytest.skip(answers[0][1])
    return cache, answers


def objects(cache):
    return sorted((cache / "kernels").glob("*.so"))


def test_two_processes_build_one_object(built):
    cache, ((first, _), (second, why)) = built
    assert first == second
    assert why == ""
    (path,) = objects(cache)
    assert first.rpartition(":")[2] == path.stem.rpartition("-")[2]
    assert not list((cache / "kernels").glob(".*.so")), "a draft was left"
    assert (cache / "kernels").stat().st_mode & 0o777 == 0o700


def test_a_cached_object_needs_no_compiler(built, tmp_path):
    cache, ((choice, _), _) = built
    assert answer(start(cache, PATH=str(tmp_path))) == [choice, ""]


def test_without_a_compiler_it_is_off_and_says_so(tmp_path):
    choice, reason = answer(start(tmp_path / "cache", PATH=str(tmp_path)))
    assert choice == "off"
    assert reason


@pytest.mark.parametrize("content", [b"", b"no object at all", None])
def test_a_broken_object_is_built_again(built, tmp_path, content):
    """Damage is noticed by hash, before the loader meets it; None cuts the file in half."""
    cache, ((choice, _), _) = built
    (whole,) = objects(cache)
    broken = tmp_path / "kernels" / whole.name
    broken.parent.mkdir()
    good = whole.read_bytes()
    broken.write_bytes(good[: len(good) // 2] if content is None else content)
    assert answer(start(tmp_path)) == [choice, ""]
    assert broken.read_bytes() == good


def test_a_compiler_that_fails_is_no_error(built, tmp_path):
    del built
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


def test_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("HPO_KERNELS", "off")
    assert compiled.choice() == "off"
    assert "HPO_KERNELS" in compiled.reason()


def test_a_level_this_processor_lacks_is_off(monkeypatch):
    monkeypatch.setattr(compiled, "_processor_flags", frozenset)
    monkeypatch.setenv("HPO_KERNELS", "x86-64-v3")
    compiled._found.cache_clear()
    try:
        assert compiled.choice() == "off"
        assert compiled.reason()
    finally:
        compiled._found.cache_clear()


def test_an_unknown_value_is_refused(monkeypatch):
    monkeypatch.setenv("HPO_KERNELS", "x86-64-v5")
    with pytest.raises(ConfigError, match="HPO_KERNELS") as caught:
        compiled.choice()
    assert "x86-64-v4" in caught.value.hint
