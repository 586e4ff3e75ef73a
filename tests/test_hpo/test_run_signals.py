"""Ctrl-C never tears what is being written."""

from __future__ import annotations

import os
import signal

import pytest

from hpo.run.signals import Stop


def press(number=signal.SIGINT):
    os.kill(os.getpid(), number)


def test_the_first_asks_and_the_second_leaves(tmp_path):
    said = []
    with pytest.raises(KeyboardInterrupt), Stop(tmp_path / "stop", said.append) as stop:
        assert not stop.requested
        press()
        assert stop.requested and stop.file.exists() and len(said) == 1
        assert stop.reason == "stopped by SIGINT"
        press()
    assert not (tmp_path / "stop").exists()


def test_a_second_one_waits_until_what_is_being_written_is_written(tmp_path):
    written = []
    with Stop(tmp_path / "stop", written.append) as stop:
        press()
        written.clear()
        with pytest.raises(KeyboardInterrupt), stop.shielded():
            with stop.shielded():
                press()
                written.append("line")
            written.append("applied")
        assert written == ["line", "applied"]


def test_sigterm_asks_however_often_and_handlers_come_back(tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Stop(tmp_path / "stop", lambda text: None) as stop:
        press(signal.SIGTERM)
        press(signal.SIGTERM)
        assert stop.reason == "stopped by SIGTERM"
    assert before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
