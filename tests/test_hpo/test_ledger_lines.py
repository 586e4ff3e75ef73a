"""The fast way to read a line and the long one agree, whatever the line holds."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpo.ledger import lines
from hpo.ledger.events import Event
from hpo.ledger.lines import UNREADABLE, EpochLine, read_event, read_record
from hpo.ledger.log import events_of, read_events
from tests.test_hpo import sample_run

SLOW = HealthCheck.too_slow  # the machine may be, and that proves nothing


def outcome(read):
    try:
        return repr(read())
    except UNREADABLE:
        return "refused"


def slowly(line: bytes, number: int) -> Event:
    """The standard library alone, as ledgers were read before there was a fast way."""
    event = Event.from_record(json.loads(line.decode()))
    if isinstance(event.n, bool) or not isinstance(event.n, int) or event.n != number:
        raise ValueError("out of order")
    lines._check(event)
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
    found = None
    try:
        found = read_record(line + b"\n", 3)
    except UNREADABLE:
        assert expected == "refused"
    if isinstance(found, EpochLine):
        assert repr(found.to_event()) == expected


def test_usual_epochs_go_the_fast_way_and_others_the_long_one():
    events = sample_run.events()
    told = [e.to_line().replace('"n": -1', '"n": 1').encode() for e in events]
    for event, line in zip(events, told, strict=True):
        finite = event.event == "epoch" and math.isfinite(event.data["valid"]["rmse"])
        assert isinstance(read_record(line, 1), EpochLine) == finite


@pytest.mark.parametrize("kind", ["run", "proposed", "note", "epoch", "converged"])
def test_events_of_one_kind_are_those_of_all(tmp_path, kind):
    path = sample_run.write(tmp_path) / "events.jsonl"
    expected = [e for e in read_events(path)[0] if e.event == kind]
    assert repr(events_of(path, kind)) == repr(expected)
