"""What a slot is told before it can train: code, data, variables, and the families' functions."""

from __future__ import annotations

import os
import pickle
import secrets
from collections.abc import Mapping
from typing import Any

import ray

from hpo.errors import RunError
from hpo.packages import PACKAGES
from hpo.run.executor import Plan
from hpo.run.loop import TrialLoop
from hpo.run.ray.archive import CODE, STUDY, Archive
from hpo.run.survey import question
from hpo.worker import located

_PIECE = 32 * 2**20  # bytes of data that travel at a time


class Orders:
    """The order for every slot of a run.

    Args:
        loop: The run.
        plan: How it uses the cluster.
        code: The code that workers run.

    Attributes:
        data: A manifest of every dataset.

    Raises:
        RunError: The run's folder cannot be written.
    """

    def __init__(self, loop: TrialLoop, plan: Plan, code: Archive) -> None:
        self.data = located.manifests(loop.data)
        self._loop = loop
        self._plan = plan
        self._code = code
        self._word = secrets.token_hex(8)
        assert plan.attach is not None, "a private Ray has other workers"
        self._pieces: dict[str, dict[str, list[Any]]] = {}
        self._shared = plan.attach.storage == "shared"
        if self._shared:
            self._leave_word()

    def order(self, request: Mapping[str, float]) -> bytes:
        """It, pickled, for a slot that is to be prepared now.

        Args:
            request: What the slot takes of its node.
        """
        folder = self._loop.run.path.absolute()
        return pickle.dumps(
            {
                "run": self._word,
                "question": question(),
                "packages": PACKAGES,
                "code": self._code.digest,
                "folders": [CODE, *([STUDY] if self._code.study else [])],
                "study": STUDY if self._code.study else "",
                "gpus_per_trial": request.get("GPU", 0.0),
                "variables": self._variables(),
                "creates": pickle.dumps(dict(self._loop.creates)),
                "data": self.data,
                "shared": [str(folder), self._word] if self._shared else None,
            }
        )

    def seen_from(self, host: str, pid: int) -> bool:
        """Whether the file that a slot wrote into the shared folder is here."""
        name = f".probe-{self._word}-{host}-{pid}"
        folder = self._loop.run.path
        if not self._shared:
            return True
        if name not in os.listdir(folder):
            return False
        (folder / name).unlink(missing_ok=True)
        return True

    def pieces(self, digest: str) -> Mapping[str, list[Any]]:
        """The files of a dataset in Ray's object store, from where each node takes them once.

        Args:
            digest: That of its manifest.
        """
        if digest not in self._pieces:
            manifest = next(m for m in self.data if m["digest"] == digest)
            self._loop.observer.message(f"sending {manifest['path']} to the nodes")
            found: dict[str, list[Any]] = {}
            for name, path in located.sizes(manifest).items():
                found[name] = []
                with path.open("rb") as file:
                    while piece := file.read(_PIECE):
                        found[name].append(ray.put(piece))
            self._pieces[digest] = found
        return self._pieces[digest]

    def close(self) -> None:
        """Take the word out of the shared folder."""
        if self._shared:
            for path in self._loop.run.path.glob(f".probe-{self._word}*"):
                path.unlink(missing_ok=True)

    def _leave_word(self) -> None:
        path = self._loop.run.path / f".probe-{self._word}"
        try:
            path.write_text(self._word)
        except OSError as error:
            raise RunError(f"cannot write to {path}: {error.strerror}") from error

    def _variables(self) -> Mapping[str, str]:
        """What changes numbers: as here, but for what unequal processors need."""
        found = {
            name: value
            for name, value in os.environ.items()
            if (name.startswith("JAX_") or name == "HPO_KERNELS")
            and name not in ("JAX_COMPILATION_CACHE_DIR", "JAX_PLATFORMS")
            and "TOKEN" not in name
        }
        flags = [os.environ.get("XLA_FLAGS", "")]
        level: dict[str, Any] = dict(self._plan.cluster.get("equal_bits", {}))
        flags.append(level.pop("XLA_FLAGS", ""))
        found = level | found
        kernels = (self._loop.kernels or "").partition(":")[0]
        if kernels and "HPO_KERNELS" not in os.environ:
            found["HPO_KERNELS"] = kernels
        text = " ".join(f for f in flags if f)
        return found | ({"XLA_FLAGS": text} if text else {})
