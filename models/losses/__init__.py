"""Losses as named, weighted terms, each a pure function that refuses to broadcast."""

from __future__ import annotations

from models.losses.combine import (
    compose_losses,
    cut,
    ignore_nan,
    masked_loss,
    normalised,
    random_length,
    skip_n,
    term_of,
    time_weighted,
)
from models.losses.criteria import (
    Criterion,
    SumCount,
    cosine,
    huber,
    mae,
    mean_error,
    mse,
    nrmse,
    rmse,
    unaccounted,
    vaf,
)
from models.losses.elementwise import (
    ERRORS,
    ErrorKind,
    absolute_error,
    huber_error,
    only,
    require_same_shape,
    squared_error,
)
from models.losses.regularizers import activation, penalty, temporal_activation
from models.losses.terms import Loss, Term

__all__ = [
    "ERRORS",
    "Criterion",
    "ErrorKind",
    "Loss",
    "SumCount",
    "Term",
    "absolute_error",
    "activation",
    "compose_losses",
    "cosine",
    "cut",
    "huber",
    "huber_error",
    "ignore_nan",
    "mae",
    "masked_loss",
    "mean_error",
    "mse",
    "normalised",
    "nrmse",
    "only",
    "penalty",
    "random_length",
    "require_same_shape",
    "rmse",
    "skip_n",
    "squared_error",
    "temporal_activation",
    "term_of",
    "time_weighted",
    "unaccounted",
    "vaf",
]
