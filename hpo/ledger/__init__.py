"""The append-only event log of a run: the one truth everything else is rebuilt from."""
