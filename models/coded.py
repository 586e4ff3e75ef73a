"""What families whose prediction begins in a code have in common besides their layers."""

from __future__ import annotations

from models.metrics.sequence import SequenceMetric


def without_start(known: int) -> SequenceMetric:
    """The rmse of what follows from a start that no outputs were looked at for.

    Args:
        known: Outputs at the start of a window that are not scored.
    """
    return SequenceMetric(
        kind="rmse", start=known, name="rmse_without_start", output="without_start"
    )
