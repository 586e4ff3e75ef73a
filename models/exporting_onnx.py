"""Programs as ONNX, by a converter of other people: `jax2onnx`."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Mapping
from typing import Any

import jax

from models import exported
from models.errors import UserError

NEEDED = ("jax2onnx", "onnxruntime")


class NotConverted(ValueError):
    """The converter does not know an operation, or needs a number in the place of a letter."""


def require_converter() -> None:
    """Refuse an export that nothing here can write.

    Raises:
        UserError: A package is not installed.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"ONNX is written by {' and '.join(NEEDED)}, and {missing[0]} is not installed",
            hint="pip install 'hpo-harness[onnx]', or `--to stablehlo`",
        )


def convert(
    function: Callable[[dict[str, jax.Array]], Mapping[str, jax.Array]],
    batch: Mapping[str, jax.ShapeDtypeStruct],
) -> bytes:
    """A function of arrays by name as a program of ONNX, whose inputs bear these names.

    Its outputs are called ``predicted.NAME``: no two names of a program may be equal.

    Args:
        function: What is traced; its outputs in the order of their names.
        batch: Shapes, of which some may be letters.

    Raises:
        NotConverted: The converter cannot.
    """
    import jax2onnx

    names = list(batch)
    given = sorted(jax.eval_shape(function, dict(batch)))

    def positional(*arrays: jax.Array) -> Any:
        found = function(dict(zip(names, arrays, strict=True)))
        return tuple(found[name] for name in given)

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # of passes that it tries and leaves
    try:
        made = jax2onnx.to_onnx(
            positional,
            list(batch.values()),
            model_name="model",
            input_names=names,
            output_names=[exported.PREDICTED + name for name in given],
        )
    except Exception as error:  # it raises whatever its plugins do
        raise NotConverted(f"{type(error).__name__}: {error}") from error
    finally:
        logging.disable(before)
    return bytes(made.SerializeToString())
