"""Data: named datasets, records, statistics, windows and the two ways to feed them.

Only `models.data.feeding` and the ODEs of `models.data.simulators` load JAX.
"""
