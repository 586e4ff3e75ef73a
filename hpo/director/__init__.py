"""The brain: events in, decisions out.

`director` weighs one event after the other; `proposer` says what to try next (`fixed` where the
study itself names its trials), `judge` what the
stopping rules say, `state` holds what the ledger amounts to, `decisions` are the words it
answers with and `records` the events that go with them.
"""

from hpo.director.director import RETRIES, Director, replay

__all__ = ["RETRIES", "Director", "replay"]
