"""The view of a run at work, on a terminal or as plain lines.

`statistics` are running sums over the ledger, `frame` draws them as lines, `progress` shows
these while events arrive, and `terminal` writes to stderr.
"""
