"""What holds for all tests."""

import collections
import itertools
import os
import shutil
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from ops import shell
from ops.paths import cache_dir

# Generated examples. What is run before a merge says the same twice, so it has the same ones each time; script/test nightly looks
# for others, and for ten times as many.
settings.register_profile(
    "ci", deadline=None, derandomize=True, database=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("nightly", settings.get_profile("ci"), derandomize=False, max_examples=1000)
settings.load_profile("ci")


def pytest_configure() -> None:
    """The same start from every shell.

    SIGINT is taken back where it is ignored, as in the background of a shell: programs that the tests interrupt inherit that.
    """
    # As script/test does, for whoever calls pytest. The first command that a test runs would take the rest out for all after it.
    shell.clean()
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Of the tests that compare with files that they can write themselves."""
    parser.addoption("--write-golden", action="store_true", help="write what is compared by the letter anew")


# Tests on real Docker wait for containers most of the time, so two lanes of them run side by side, each with its own daemon and
# stacks. The modules of a lane share these and run in their order.
HOST = "tests/host/"
SECOND_LANE = {
    f"{HOST}test_{name}.py"
    for name in (
        *(
            "approvals",
            "automations",
            "backup",
            "docker_versions",
            "doctor",
            "edge",
            "links",
            "monitor",
            "naver_blog",
            "ollama",
            "own_network",
            "pull_requests",
        ),
        *("rehearsal", "rotation", "signatures", "store"),
    )
}
WHOLE = (HOST, "tests/engine/", "tests/site/")
# Of the host tests, most of which use one stack: its first up is looked at before all else, then the history that it left. Behind
# its end come those that begin with an empty machine.
# Of the other lane, the last one gives the stack a backup, whose key cannot be taken away again.
STORY = {
    f"{HOST}test_first_up.py": -2,
    f"{HOST}test_history.py": -1,
    f"{HOST}test_deployment.py": 1,
    f"{HOST}test_takeover.py": 2,
    f"{HOST}test_runbooks.py": 3,
    f"{HOST}test_backup.py": 1,
}


@pytest.fixture(scope="session", autouse=True)
def _no_modules_are_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the tests' checkouts have compiled: each is 80 MB in the user's cache folder, under a path that never comes back."""
    compiled = cache_dir() / "pycache"
    yield
    folder = tmp_path_factory.getbasetemp()
    shutil.rmtree(compiled / folder.relative_to(folder.root), ignore_errors=True)


@pytest.fixture(autouse=True)
def _umask_stays() -> Iterator[None]:
    """The monitor's program sets its own, and a test that calls it would leave that to all after it."""
    before = os.umask(0o077)
    os.umask(before)
    yield
    os.umask(before)


_seconds: dict[str, float] = collections.defaultdict(float)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """What each part takes, by the worker that runs it: parts of one worker follow each other, workers run side by side."""
    worker = getattr(report, "worker_id", "")
    folder = report.nodeid.partition("::")[0].split("/")
    part = "/".join(folder[:3]) if report.nodeid.startswith(HOST) else "/".join(folder[:2])
    _seconds[f"{part} {worker}".strip()] += report.duration


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How long each part took, for whoever wants the whole to be faster."""
    terminalreporter.section("seconds by part")
    for step in filter(None, os.environ.get("SKYVERN_TEST_STEPS", "").split(";")):
        name, _, seconds = step.rpartition("=")
        terminalreporter.write_line(f"{int(seconds):6d}  {name}")
    for part, took in sorted(_seconds.items()):
        terminalreporter.write_line(f"{took:6.0f}  {part}")


_WRITTEN = pytest.StashKey[int]()
_BESIDE_HOST = pytest.StashKey[bool]()
# As a nice value: a sixth of what the lanes of host tests get where both want a processor, so that all end at about one time.
GIVES_WAY = 8
_number = itertools.count()


def host_lane(nodeid: str) -> int:
    """1 or 2, for a host test."""
    return 2 if nodeid.partition("::")[0] in SECOND_LANE else 1


class Lanes(LoadScopeScheduling):  # type: ignore[misc]  # untyped in xdist
    """Three workers: one for each lane of host tests, from the first moment on, and one for all others, files that deploy
    something whole before single tests."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(HOST):
            return str(host_lane(nodeid))
        return nodeid.partition("::")[0] if nodeid.startswith(("tests/engine/", "tests/site/")) else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Lanes:
    """For ``-n 3``; its workers run nothing else than what this says."""
    # Otherwise the file with the most tests would go first.
    config.option.loadscopereorder = False
    return Lanes(config, log)


def pytest_itemcollected(item: pytest.Item) -> None:
    item.stash[_WRITTEN] = next(_number)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Host tests first, and what deploys something whole in the order in which it is written: most of it tells a story.

    The others stay as pytest-randomly has shuffled them, which it does before this.
    """
    items.sort(key=_place)
    if items and items[0].nodeid.startswith(HOST) and "PYTEST_XDIST_WORKER" in os.environ:
        items[0].session.stash[_BESIDE_HOST] = True


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Beside host tests, the others give way: the images come sooner, and these have time at the end."""
    if not item.nodeid.startswith(HOST) and item.session.stash.get(_BESIDE_HOST, False):
        item.session.stash[_BESIDE_HOST] = False
        os.nice(GIVES_WAY)


def _place(item: pytest.Item) -> tuple[int, int, int, int]:
    for group, folder in enumerate(WHOLE):
        if item.nodeid.startswith(folder):
            lane = host_lane(item.nodeid) if folder == HOST else 0
            return group, lane, STORY.get(item.nodeid.partition("::")[0], 0), item.stash[_WRITTEN]
    return len(WHOLE), 0, 0, 0
