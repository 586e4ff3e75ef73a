"""Following a ledger: every event once, whatever the moments of reading."""

from __future__ import annotations

import random

import pytest

from hpo.errors import RunError
from hpo.ledger.log import read_events
from hpo.ledger.tail import Tail
from tests.test_hpo import sample_run


@pytest.mark.parametrize("seed", range(5))
def test_events_come_once_and_whole_however_the_file_grows(seed, tmp_path):
    path = sample_run.write(tmp_path) / "events.jsonl"
    known, _ = read_events(path)
    whole, chance = path.read_bytes(), random.Random(seed)
    grown = tmp_path / "grown.jsonl"
    tail, read = Tail(grown), []
    assert list(tail.read()) == []
    cuts = sorted(chance.randrange(len(whole)) for _ in range(200))
    for cut in (*cuts, len(whole)):
        grown.write_bytes(whole[:cut])
        read += tail.read()
        assert len(read) == whole[:cut].count(b"\n")
    assert str(read) == str(known)
    assert list(tail.read()) == []


def test_a_damaged_line_is_named(tmp_path):
    path = sample_run.write(tmp_path) / "events.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    for bad in ("{}\n", "\n", "no JSON\n", lines[0]):
        path.write_text("".join([*lines[:2], bad, *lines[2:]]))
        with pytest.raises(RunError, match="line 3: "):
            list(Tail(path).read())
