"""Conformance suites for everything that can be added: call them from a test of yours.

`families`, `spaces`, `learners`, `samplers`, `rules` and `executors` are suites. Every function
raises an AssertionError that says what was expected and what came. Nothing here imports JAX,
Optuna's samplers or a family before it is called.

The last three have `CHECKS`, each to be called with a `Rule` or an executor's name. They use
`steady`, a learner in pure Python, `drivers`, processes to interrupt and kill, and `directed`, a
Director without workers.
"""
