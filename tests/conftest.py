"""What holds for all tests."""

import signal

import pytest


def pytest_configure() -> None:
    """Takes SIGINT back where it is ignored, as in the background of a shell: programs that the tests interrupt inherit that."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Of the tests that compare with files that they can write themselves."""
    parser.addoption("--write-golden", action="store_true", help="write what is compared by the letter anew")
