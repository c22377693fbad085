"""A finding of the doctor, with exactly one fix."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is wrong (error) or may become so (warning).

    subject: a container's name, a key of the stack file or the like. fix: one command, or one sentence.
    """

    level: Literal["error", "warning"]
    check: str
    subject: str
    problem: str
    fix: str


def error(check: str, subject: str, problem: str, fix: str) -> Finding:
    """Something that keeps the stack from working, or from being safe."""
    return Finding(level="error", check=check, subject=subject, problem=problem, fix=fix)


def warning(check: str, subject: str, problem: str, fix: str) -> Finding:
    """Something that works today; it does not make ``ops doctor`` fail."""
    return Finding(level="warning", check=check, subject=subject, problem=problem, fix=fix)
