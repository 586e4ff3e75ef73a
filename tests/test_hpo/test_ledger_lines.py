"""The fast way to read a line and the long one agree, whatever the line holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from hpo.errors import RunError
from hpo.ledger import lines
from hpo.ledger.events import KINDS, SCHEMA, Event
from hpo.ledger.lines import UNREADABLE, OtherSchema, read_event
from hpo.ledger.log import events_of, read_events
from hpo.ledger.tail import Tail
from tests.test_hpo import sample_run

ROOT = Path(__file__).parent.parent.parent
SLOW = HealthCheck.too_slow  # the machine may be, and that proves nothing


def outcome(read):
    try:
        return repr(read())
    except UNREADABLE:
        return "refused"


def slowly(line: bytes, number: int) -> Event:
    """The standard library alone reads the line, whatever it holds."""
    event = lines._the_long_way(line)
    if event.n != number:
        raise ValueError("out of order")
    return event


NUMBER = st.one_of(
    st.floats(),
    st.integers(-(2**70), 2**70),
    st.sampled_from(["nan", "inf", "-inf", "1.0", True, None, -0.0, 0, 1e308]),
)
METRICS = st.dictionaries(
    st.sampled_from(["rmse", "loss", "ä", ""]), NUMBER, max_size=3
)


@settings(max_examples=200, deadline=None, suppress_health_check=[SLOW])
@given(st.data())
def test_both_ways_agree_on_any_epoch(data):
    record = {
        "schema": 1, "n": 3, "time": 1.5, "elapsed": 2.5, "event": "epoch", "trial": 1,
        "attempt": 1, "epoch": 2, "train": data.draw(METRICS), "valid": data.draw(METRICS),
        "seconds": 0.25, "compile_seconds": 0.0,
    }  # fmt: skip
    if data.draw(st.booleans()):
        record["parameters"] = data.draw(st.one_of(st.none(), st.integers(-3, 2**60)))
    if data.draw(st.booleans()):
        key = data.draw(st.sampled_from([*record, "more"]))
        record[key] = data.draw(st.one_of(NUMBER, METRICS, st.text(max_size=3)))
    if data.draw(st.integers(0, 9)) == 0:
        del record[data.draw(st.sampled_from(list(record)))]
    line = json.dumps(record).encode()
    if data.draw(st.booleans()):  # and on any damage
        at = data.draw(st.integers(0, len(line)))
        line = line[:at] + data.draw(st.binary(max_size=4)) + line[at:]
    expected = outcome(lambda: slowly(line, 3))
    assert outcome(lambda: read_event(line, 3)) == expected


def test_usual_lines_go_the_fast_way_and_others_the_long_one(monkeypatch):
    long = []
    real = lines._the_long_way
    monkeypatch.setattr(
        lines, "_the_long_way", lambda line: (long.append(line), real(line))[1]
    )
    for number, event in enumerate(sample_run.events(), 1):
        long.clear()
        line = structs.replace(event, n=number).to_line().encode()
        assert json.loads(read_event(line, number).to_line()) == json.loads(line)
        assert bool(long) == (b'"nan"' in line)


def test_a_field_that_this_version_does_not_know_is_left_out():
    line = sample_run.events()[0].to_line()
    newer = line.replace('"action"', '"weather": "fine", "action"').encode()
    assert read_event(newer, -1).to_line() == line


@pytest.mark.parametrize("schema", ["", '"schema": 0, ', '"schema": "1", '])
def test_no_schema_or_none_that_ever_was_is_damage(schema):
    line = sample_run.events()[0].to_line().replace('"schema": 1, ', schema)
    with pytest.raises(ValueError, match="one whole event"):
        read_event(line.encode(), -1)


def test_a_newer_schema_is_refused_by_name(tmp_path):
    line = sample_run.events()[0].to_line().replace('"schema": 1', '"schema": 2')
    with pytest.raises(OtherSchema, match="schema 2, but this version reads schema 1"):
        read_event(line.encode(), -1)
    path = tmp_path / "events.jsonl"
    path.write_text(line)
    for read in (lambda: read_events(path), lambda: list(Tail(path).read())):
        with pytest.raises(RunError, match="line 1: an event of schema 2") as caught:
            read()
        assert "update" in caught.value.hint


# A line of each kind as commit 2ce72dc wrote them; they stay readable, and are written so.
WRITTEN = ROOT / "tests" / "golden" / f"events-schema-{SCHEMA}.jsonl"


@pytest.mark.parametrize("line", WRITTEN.read_text().splitlines())
def test_lines_of_this_schema_are_read_and_written_byte_for_byte(line):
    assert read_event(line.encode(), json.loads(line)["n"]).to_line() == line + "\n"


@pytest.mark.parametrize("kind", ["run", "proposed", "note", "epoch", "converged"])
def test_events_of_one_kind_are_those_of_all(tmp_path, kind):
    path = sample_run.write(tmp_path) / "events.jsonl"
    expected = [e for e in read_events(path)[0] if e.event == kind]
    assert repr(events_of(path, KINDS[kind])) == repr(expected)
