"""The simulated queue against results of queueing theory that are known in closed form, and the tables of docs/scale.md."""

import math
import statistics
from itertools import accumulate, repeat

import pytest

from lab.bench import run_queue
from ops.paths import ROOT


def erlang_c(turns: int, share: float) -> float:
    """The probability of a wait in M/M/c (Erlang, 1917)."""
    load = turns * share
    last = load**turns / math.factorial(turns) / (1 - share)
    return last / (sum(load**k / math.factorial(k) for k in range(turns)) + last)


@pytest.mark.parametrize(("turns", "share"), [(1, 0.5), (2, 0.8), (4, 0.8), (10, 0.8), (4, 0.5)])
def test_the_mean_wait_is_that_of_erlang(turns: int, share: float) -> None:
    simulated = statistics.fmean(run_queue.steady_waits(turns, share, runs=100_000))
    known = erlang_c(turns, share) * run_queue.RUN_SECONDS / (turns * (1 - share))
    assert simulated == pytest.approx(known, rel=0.1)


def test_runs_of_equal_length_wait_half_as_long() -> None:
    # Pollaczek and Khinchine, M/D/1: half of M/M/1's wait.
    between = run_queue.exponential(run_queue.RUN_SECONDS / 0.7, seed=3)
    arrivals = accumulate(next(between) for _ in range(100_000))
    simulated = statistics.fmean(run_queue.waits(arrivals, repeat(run_queue.RUN_SECONDS), 1))
    assert simulated == pytest.approx(0.7 / (2 * 0.3) * run_queue.RUN_SECONDS, rel=0.1)


def test_a_burst_is_served_in_order_and_a_free_turn_is_taken_at_once() -> None:
    assert list(run_queue.waits([0, 0, 0, 0, 0], repeat(10.0), 2)) == [0, 0, 10, 10, 20]
    assert list(run_queue.waits([0, 25], repeat(10.0), 1)) == [0, 0]


def test_a_machines_turns_are_the_servers_own_default() -> None:
    assert [run_queue.turns_of(memory) for memory in (3072, 4096, 8192)] == [2, 4, 10]


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_page_has_the_tables_as_they_are_now(language: run_queue.Language) -> None:
    page = ROOT / ("docs/scale.md" if language == "en" else "docs/ko/scale.md")
    assert run_queue.tables(language) in page.read_text(encoding="utf-8"), (
        f"put the output of `python -m lab.bench.run_queue {language}` into {page.name}"
    )
