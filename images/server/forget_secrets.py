"""Keeps the secrets of the server's environment from the programs that it starts, and from every other program of its user.

Seen with Skyvern 1.0.56: Playwright's driver, Chromium, ffmpeg and tesseract inherited SECRET_KEY, the vault's key, the
database's password and the API keys, and any process of the user could read them in /proc. Skyvern has its settings by the time
this is called and does not read these variables again; litellm reads the keys of models whenever it calls one.
Not here: the environment of the container's first process (docker-init), which stays as Docker made it. The programs of
``sandboxed`` cannot read it, because they are in another user namespace.
"""

import ctypes
import os

from start_report import is_secret

READ_AGAIN = ("ANTHROPIC_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "GEMINI_API_KEY", "OPENAI_API_KEY")
PR_SET_DUMPABLE = 4


def forget() -> None:
    """Takes the secrets out of the environment; RuntimeError when Playwright or the kernel is not as expected."""
    from playwright._impl import transport

    for name in [name for name in os.environ if is_secret(name)]:
        if name in READ_AGAIN:
            # Of the process, not of this mapping: programs that are started without an environment inherit the former.
            os.unsetenv(name)
        else:
            del os.environ[name]
    copied = getattr(transport, "get_driver_env", None)
    if copied is None:
        raise RuntimeError("Playwright starts its driver in another way; look at forget_secrets.py")
    transport.get_driver_env = lambda: {name: value for name, value in copied().items() if not is_secret(name)}
    # Its memory and what /proc shows of its start belong to root from now on.
    if ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0):
        raise RuntimeError("the kernel does not hide the server's memory")
