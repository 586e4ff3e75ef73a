"""Conformance suites for families, spaces and learners: call them from a test of yours.

Every function raises an AssertionError that says what was expected and what came. Nothing
here imports JAX, Optuna's samplers or a family before it is called.
"""
