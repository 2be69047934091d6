"""The command that repeats an experiment started from Python."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any


def python_call(function: str, **arguments: Any) -> str:
    """Return the call of ``senet.<function>`` with the arguments that were given.

    Args:
        function: for example ``"compare"``.
        arguments: by name; those that are ``None`` were not given.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    return f"senet.{function}({', '.join(f'{name}={_shown(value)}' for name, value in given.items())})"


def job_command(command: str, job: str) -> str:
    """Return the command of one job of the comparison that ``command`` runs.

    Args:
        command: of a shell or of Python.
        job: for example ``"2/4"``.
    """
    alone = re.sub(r" --parallel[ =]\d+|(, )?\bparallel=\d+", "", command)
    if alone.startswith("senet.compare("):
        return alone.replace("(", f"_job({job!r}, ", 1).replace(", )", ")")
    return f"{alone} --job {job}"


def _shown(value: Any) -> str:
    if isinstance(value, Path):
        return repr(str(value))
    if is_dataclass(value):
        changed = {each.name: getattr(value, each.name) for each in fields(value)}
        shown = (
            f"{each.name}={changed[each.name]!r}"
            for each in fields(value)
            if changed[each.name] != each.default
        )
        return f"senet.{type(value).__name__}({', '.join(shown)})"
    return repr(value)
