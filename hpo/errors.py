"""Errors that the harness shows to a person, as one tree.

models.errors.UserError
└── HpoError
    ├── StudyError       a study (or a setting of it) breaks a rule
    ├── RunError         a run folder is missing, damaged or of another version
    │   └── RunLocked    another driver is at work on this run
    ├── ResumeRefused    space, data or study file changed since the launch
    ├── ForeignFailure   somebody's own code (create, study file) raised
    ├── NotEqual         an exact re-run gave other numbers (exit status 3)
    └── NotVerified      a run is not what it says (exit status 3)
"""

from __future__ import annotations

from models.errors import UserError


class HpoError(UserError):
    """Base of the harness's own messages to a person."""

    exit_status = 1


class StudyError(HpoError):
    """A study, or a setting of it, breaks a rule."""


class RunError(HpoError):
    """A run's folder is missing, damaged, or of another version."""


class RunLocked(RunError):
    """Another driver is at work on this run."""


class ResumeRefused(HpoError):
    """Space, data or study file are not those of the launch."""


class ForeignFailure(HpoError):
    """Code that is not ours (a study file, a `create`) raised."""


class NotEqual(HpoError):
    """An exact re-run gave other numbers."""

    exit_status = 3


class NotVerified(HpoError):
    """A run is not what it says, or not what another one is."""

    exit_status = 3
