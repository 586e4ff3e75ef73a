"""Our learner of a shape: the project's own families, with what torch lacks switched off."""

from __future__ import annotations

from typing import Any

from models import ar, fransys, pirnn, rnn, tcn
from models.data.catalog import prepare
from models.training.learner import GradientLearner
from models.training.protocol import Context
from tests.benchmarks.tools.shapes import INFORMED, P_STATE_ENCODER, Shape

HORIZON = 1_000_000  # epochs of the (constant) schedule: more than are ever trained


def configuration(shape: Shape) -> dict[str, Any]:
    """The family's configuration with what the plain torch modules do not have off.

    What stays on, and only costs us time: scaling of inputs and outputs, clipping of the
    gradient's norm, the check that every update is finite, and the terms of the report.
    """
    common = {
        "model.skip": False,
        "data.window": shape.window,
        "data.batch_size": shape.batch_size,
        "data.batches": shape.batches,
        "loss.kind": "mse",
        "loss.n_skip": 0,
        "optimizer.schedule": "constant",
        "optimizer.weight_decay": 1e-2,
    }
    if shape.cell == "tcn":
        return common | {
            "model.channels": shape.width,
            "model.depth": shape.layers,
            "model.kernel": shape.kernel,
            "model.activation": "relu",
        }
    if shape.cell == "pirnn":
        return common | {
            "model.cell": "gru",
            "model.layers": shape.layers,
            "model.hidden_size": shape.width,
            "model.encoder.hidden_size": shape.width,
            "model.encoder.layers": shape.layers,
            "model.state_encoder_size": 64,
            "model.p_state_encoder": P_STATE_ENCODER,
            **{f"weights.{term}": 1.0 for term in INFORMED},
            "physics.equation": "low_pass",
            "physics.trained": False,
            "physics.difference": "diff1_central",
            "collocation.excitation": "multisine",
            "collocation.start": "state_encoder",
            "collocation.rows": shape.batch_size,
            "collocation.samples": shape.window,
        }
    if shape.cell == "fransys":
        common |= {
            "model.diagnosis.hidden_size": shape.width,
            "model.diagnosis.layers": shape.layers,
        }
    return common | {
        "model.cell": "lstm" if shape.cell == "lstm" else "gru",
        "model.layers": shape.layers,
        "model.hidden_size": shape.width,
    }


def learner(
    shape: Shape, data: str, *, seed: int = 0, rate: float = 3e-3
) -> GradientLearner:
    """The learner of a shape."""
    reference = prepare({"path": data}).to_json()
    task: dict[str, Any] = {"name": "simulation"}
    if shape.known:
        horizon = shape.window - shape.known
        task = {"name": "prediction", "known": shape.known, "horizon": horizon}
    context = Context(task=task, data=reference, seed=seed, epochs=HORIZON)
    family = {"tcn": tcn, "ar": ar, "fransys": fransys, "pirnn": pirnn}.get(
        shape.cell, rnn
    )
    config = configuration(shape) | {"optimizer.learning_rate": rate}
    return family.create(config, context)
