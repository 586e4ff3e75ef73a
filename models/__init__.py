"""Sequence models that can be fitted, usable without any tuning.

One family per file (`models.rnn`, `models.tcn`, …): its `Config`, its `Model`, how its
learner is made (`create`) and a tiny `example`. This package never imports ray, optuna,
`hpo`, `search_spaces` or `studies`, and importing it loads nothing heavy.
"""
