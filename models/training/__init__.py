"""How a model is trained: the learner, its engine, optimizers, checkpoints, lanes.

Importing this package loads nothing heavy; `models.training.protocol` needs only the
standard library, so that the harness can speak of epochs without loading JAX.
"""
