"""Executors by name: a file here with a class `Executor` is one, see `hpo.run.executor`."""
