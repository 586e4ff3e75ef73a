"""Commands as hints print them: what is between the backticks works when pasted into a shell."""

from __future__ import annotations

import shlex


def pasted(*words: object) -> str:
    """``hpo WORDS``, each word in quotes where a shell would take it apart.

    Args:
        words: The command, its arguments and options; paths and numbers are good, too.
    """
    return shlex.join(["hpo", *map(str, words)])
