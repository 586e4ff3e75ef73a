"""Whether a launch or a resume works on a Ray cluster that is there already, and which one.

The address belongs to the launch or the resume, not to the study: a resume may be on another
host. Without one Ray is started for the run alone, on the loopback interface (`hpo.run.ray`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hpo.errors import RunError

LOCAL = "local"
AUTO = "auto"
VARIABLE = "RAY_ADDRESS"
PATIENCE = 600.0  # seconds without any worker
_HOST_PORT = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9_.-]+):(\d{1,5})")
_TOKEN_MODE = "RAY_AUTH_MODE"

Storage = Literal["driver", "shared"]


@dataclass(frozen=True, kw_only=True)
class Attach:
    """A cluster to work on, and how.

    Attributes:
        address: ``auto`` (Ray's own search) or ``HOST:PORT``.
        told: How a person said so: ``--address`` or ``RAY_ADDRESS``.
        insecure: Attach although the cluster asks for no token.
        storage: ``driver`` lets checkpoints travel with the reports; with ``shared`` workers
            write into the run's folder themselves.
        patience: Seconds for which a run waits while it has no worker at all.
        workers: Trials at a time; None for as many as the cluster has room for.
    """

    address: str
    told: str = "--address"
    insecure: bool = False
    storage: Storage = "driver"
    patience: float = PATIENCE
    workers: int | None = None

    def to_json(self) -> dict[str, Any]:
        """What a ledger says of it; a token is no part of it."""
        return {
            "address": self.address,
            "insecure": self.insecure,
            "storage": self.storage,
            "workers": self.workers or AUTO,
        }


def attach(
    address: str | None,
    *,
    insecure: bool = False,
    storage: str = "driver",
    patience: float = PATIENCE,
    workers: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Attach | None:
    """The cluster that a person means; None for a private Ray on this machine.

    Args:
        address: ``auto``, ``HOST:PORT`` or ``local``; None for what ``RAY_ADDRESS`` says.
        insecure: Attach although the cluster asks for no token.
        storage: ``driver`` or ``shared``.
        patience: Seconds for which a run waits while it has no worker at all.
        workers: Trials at a time; None for as many as have room.
        environment: Variables of this process, by default.

    Raises:
        RunError: The address is none, or no token protects the cluster.
    """
    variables = os.environ if environment is None else environment
    told = "--address"
    if address is None:
        address, told = variables.get(VARIABLE) or LOCAL, VARIABLE
    if address == LOCAL:
        return None
    if address != AUTO:
        _check(address, told)
    if storage not in ("driver", "shared"):
        raise RunError(
            f"`--storage` is `driver` or `shared`, got `{storage}`",
            hint="`shared` needs the run's folder at the same path on every node",
        )
    if variables.get(_TOKEN_MODE) != "token" and not insecure:
        raise RunError(
            f"a cluster is attached to with Ray's token authentication only; {_TOKEN_MODE} "
            f"is `{variables.get(_TOKEN_MODE) or 'not set'}`",
            hint="start every node and this driver with RAY_AUTH_MODE=token and one token "
            "(RAY_AUTH_TOKEN_PATH, or `ray get-auth-token --generate`); "
            "`--insecure-cluster` attaches to one that anybody on its network can use",
        )
    return Attach(
        address=address,
        told=told,
        insecure=insecure,
        storage="shared" if storage == "shared" else "driver",
        patience=patience,
        workers=workers,
    )


def _check(address: str, told: str) -> None:
    match = _HOST_PORT.fullmatch(address)
    if match is not None and 0 < int(match[2]) < 65536:
        return
    hint = "`auto`, `local`, or HOST:PORT of the head, such as `10.0.0.1:6379`"
    if address.startswith("ray://"):
        hint = "Ray's client cannot carry a driver: run hpo on a node, with HOST:PORT"
    raise RunError(f"`{told}` names no cluster: `{address}`", hint=hint)
