"""One line a step of the start, on the console, without a secret in it."""

import os
import sys
import time

SECRET_WORDS = {"KEY", "PASSWORD", "SECRET", "TOKEN"}


def is_secret(name: str) -> bool:
    """Whether the value of a variable is for the server alone. The database's address holds its password.

    By whole words: litellm puts TIKTOKEN_CACHE_DIR into the environment, and without it fetches that folder's files again.
    """
    return name == "DATABASE_STRING" or not SECRET_WORDS.isdisjoint(name.split("_"))


def without_secrets(text: str) -> str:
    """``text`` on one line, cut, with every secret value of the environment replaced: a library may put it into an error."""
    secrets = {value for name, value in os.environ.items() if is_secret(name)}
    secrets.add(os.environ.get("DATABASE_STRING", "").rpartition("@")[0].rpartition(":")[2])
    text = " ".join(text.split())
    # Longest first: the database's address holds its password. Short values are words like "true".
    for value in sorted(secrets, key=len, reverse=True):
        if len(value) >= 8:
            text = text.replace(value, "***")
    return text[:400]


def report_step(name: str, started: float, note: str | None = None) -> None:
    """started: time.monotonic() when the step began."""
    print(f"skyvern-start: {name}: {time.monotonic() - started:.1f} s{f' ({note})' if note else ''}", flush=True)


def report_failure(name: str, started: float, failure: BaseException) -> None:
    """The one line that says which step ended the container."""
    reason = without_secrets(f"{type(failure).__name__}: {failure}")
    seconds = time.monotonic() - started
    print(f"skyvern-start: {name}: FAILED after {seconds:.1f} s: {reason}", file=sys.stderr, flush=True)
