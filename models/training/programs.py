"""Compiled programs, kept in one bounded table for the life of the process.

A program is keyed by what it does, the problem's static signature, precision, the kernels it
computes with, and the shapes of its arguments. The table keeps the `LIMIT` most recently used
ones; an evicted program is compiled again when it is next needed.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import jax

from models.layers.kernels import compiled

LIMIT = 128


@dataclass(frozen=True)
class Program:
    """One compiled function.

    Attributes:
        call: Takes arrays of exactly the shapes it was compiled for.
        out: The structure and shapes of what it returns.
    """

    call: Callable[..., Any]
    out: Any


class ProgramTable:
    """The least recently used programs leave when `limit` is exceeded."""

    def __init__(self, *, limit: int) -> None:
        self.limit = limit
        self._programs: OrderedDict[Hashable, Program] = OrderedDict()

    def __len__(self) -> int:
        return len(self._programs)

    def clear(self) -> None:
        """Forget every program."""
        self._programs.clear()

    def get(
        self,
        key: Hashable,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        *,
        donate: tuple[int, ...] = (),
    ) -> tuple[Program, float]:
        """The compiled `function` for these arguments, and the seconds it took to compile.

        Args:
            key: Says what the function does; equal keys must mean equal functions.
            function: Pure; compiled only when the table does not have it.
            arguments: Arrays (or trees of them) with the shapes of the call.
            donate: Positions of arguments whose buffers are given away.
        """
        leaves, structure = jax.tree.flatten(arguments)
        shapes = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        precision = bool(jax.config.jax_enable_x64)
        full = (key, precision, compiled.in_force(), structure, shapes)
        program = self._programs.get(full)
        if program is not None:
            self._programs.move_to_end(full)
            return program, 0.0
        start = time.perf_counter()
        traced = jax.jit(function, donate_argnums=donate).trace(*arguments)
        program = Program(traced.lower().compile(), traced.out_info)
        self._programs[full] = program
        while len(self._programs) > self.limit:
            self._programs.popitem(last=False)
        return program, time.perf_counter() - start


PROGRAMS = ProgramTable(limit=LIMIT)
