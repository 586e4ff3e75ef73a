"""Data: three kinds, named datasets, statistics, and the batches and groups made of them.

`kinds/` holds one module for each way that data lies on disk; `catalog` finds, checks and
hashes a dataset; `dataset` opens it again; `feeding` makes batches for training and groups
for scoring. JAX is loaded by feeds, plans and the ODEs of `simulators` only.
"""
