"""One record of each trial: everything that is known of it, and the one way to get there.

`states` names the states; `record` describes a trial, with its `curve`; `reducer` applies the
ledger's events to the records; `best` says which epoch is the best. Director, live view, tables,
exports and re-runs all read these records.
"""
