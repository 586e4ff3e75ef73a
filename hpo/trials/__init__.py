"""The trials of a run: `record` describes one, `reducer` applies the ledger's events to it."""
