"""What holds for all tests."""

import signal


def pytest_configure() -> None:
    """Takes SIGINT back where it is ignored, as in the background of a shell: programs that the tests interrupt inherit that."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
