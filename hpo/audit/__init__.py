"""Whether a run is what it says: its ledger, its decisions taken once more, its checkpoints.

`auditing` looks at a whole run, `decided` takes its decisions again, `saved` reads what is kept
beside its ledger, `same` holds one run against another. Everything follows from the run's folder;
nothing is trained and nothing is written, and neither jax nor ray is loaded.
"""
