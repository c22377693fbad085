"""What holds for all tests."""

import signal

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling


def pytest_configure() -> None:
    """Takes SIGINT back where it is ignored, as in the background of a shell: programs that the tests interrupt inherit that."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Of the tests that compare with files that they can write themselves."""
    parser.addoption("--write-golden", action="store_true", help="write what is compared by the letter anew")


# Their tests share a daemon, and wait for containers most of the time.
HOST = "tests/host/"


class Lanes(LoadScopeScheduling):  # type: ignore[misc]  # untyped in xdist
    """On two cores: the host tests, from the first moment on, and beside them the others, files that deploy something whole."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(HOST):
            return HOST
        return nodeid.partition("::")[0] if nodeid.startswith(("tests/engine/", "tests/site/")) else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Lanes:
    """For ``-n 2``; its workers run nothing else than what this says."""
    # Otherwise the file with the most tests would go first.
    config.option.loadscopereorder = False
    return Lanes(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Host tests first, in the order that they have among them."""
    items.sort(key=lambda item: not item.nodeid.startswith(HOST))
