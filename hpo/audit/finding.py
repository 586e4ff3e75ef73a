"""What an audit finds, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, order=True)
class Finding:
    """Something that does not hold.

    Attributes:
        line: The line of the ledger; 0 for what concerns none.
        text: What, in a sentence.
    """

    line: int
    text: str

    def __str__(self) -> str:
        """For a person."""
        return f"line {self.line}: {self.text}" if self.line else self.text


@dataclass
class Audit:
    """What was looked at, and what was found.

    Attributes:
        looked: What was looked at, in words, by the part of the run it belongs to.
        findings: What does not hold.
        remarks: What a person should know though it breaks nothing.
    """

    looked: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def first(self) -> Finding:
        """The finding that comes first in the ledger; there is one."""
        return min(self.findings)
