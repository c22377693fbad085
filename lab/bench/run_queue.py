"""How long runs wait for their turn: a simulation of the server's gate (images/server/run_gate.py); the tables of docs/scale.md.

Runs wait in the order in which they arrive, and a fixed number has a turn at once. Nothing here is measured on a machine, and
whether its processor keeps up with the turns is not asked. ``python -m lab.bench.run_queue [en|ko]`` prints the tables.
"""

import heapq
import random
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Literal

from components.settings.host import ServerSettings

Language = Literal["en", "ko"]
DAY = 86400
# What the tables assume of a run: three minutes on average, the shorter ones more often.
RUN_SECONDS = 180.0
RUNS = 60_000
MEMORY_MIB = (3072, 4096, 8192, 16384, 32768)
SHARES = (0.5, 0.8, 0.95)
BURST = 200
_SEED = 20


def waits(arrivals: Iterable[float], seconds: Iterable[float], turns: int) -> Iterator[float]:
    """Seconds that each run waits for one of the turns. arrivals: times in seconds, in their order. seconds: of each run."""
    free = [0.0] * turns
    for arrival, length in zip(arrivals, seconds, strict=False):
        begin = max(arrival, free[0])
        heapq.heapreplace(free, begin + length)
        yield begin - arrival


def exponential(mean: float, seed: int) -> Iterator[float]:
    """Times that are independent of each other, without an end: of runs, or between arrivals that nobody coordinates."""
    source = random.Random(seed)  # noqa: S311  # a simulation that gives the same table each time
    while True:
        yield source.expovariate(1 / mean)


def steady_waits(turns: int, share: float, runs: int = RUNS, seed: int = _SEED) -> list[float]:
    """Waits once the queue has its usual length. share: of the turns' time that runs take, below 1. In order of length."""
    between = exponential(RUN_SECONDS / (turns * share), seed)
    all_waits = list(waits(accumulate(next(between) for _ in range(runs)), exponential(RUN_SECONDS, seed + 1), turns))
    # The first find an empty server.
    return sorted(all_waits[runs // 10 :])


def of_twenty(ordered: Sequence[float]) -> float:
    """What nineteen of twenty do not exceed."""
    return ordered[len(ordered) * 19 // 20]


def turns_of(memory_mib: int) -> int:
    """The server's own default for this memory."""
    return ServerSettings(memory_mib=memory_mib).runs_at_once


def runs_a_day(turns: int, share: float) -> int:
    """To the nearest ten."""
    return 10 * round(turns * share * DAY / RUN_SECONDS / 10)


# --- The tables ------------------------------------------------------------------------------------------------------------

_TEXTS: dict[Language, dict[str, str]] = {
    "en": {
        "memory": "`server.memory_mib`",
        "turns": "runs at once",
        "used": "runs a day, {share} used",
        "wait": "mean wait, 1 of 20 waits longer than",
        "burst": f"{BURST} at once: the last begins after",
        "shape": "machines",
        "shape_row": "{cells} x {turns} runs at once",
        "seconds": "{} s",
        "minutes": "{} min",
        "hours": "{} h",
    },
    "ko": {
        "memory": "`server.memory_mib`",
        "turns": "동시 실행",
        "used": "하루 실행 수, {share} 사용",
        "wait": "평균 대기, 20건 중 1건은 이보다 오래",
        "burst": f"{BURST}건이 한꺼번에 오면 마지막 시작",
        "shape": "컴퓨터",
        "shape_row": "{cells}대, 동시 실행 {turns}건",
        "seconds": "{}초",
        "minutes": "{}분",
        "hours": "{}시간",
    },
}


def tables(language: Language = "en") -> str:
    """Both tables as Markdown: what a machine carries, and what becomes of the wait with several cells."""
    texts = _TEXTS[language]

    def time(seconds: float) -> str:
        if seconds < 90:
            return texts["seconds"].format(round(seconds))
        return texts["minutes"].format(round(seconds / 60)) if seconds < 5400 else texts["hours"].format(round(seconds / 3600, 1))

    def waited(turns: int, share: float) -> str:
        ordered = steady_waits(turns, share)
        return f"{time(statistics.fmean(ordered))}, {time(of_twenty(ordered))}"

    def column(share: float) -> str:
        return texts["used"].format(share=f"{share:.0%}")

    machines = []
    for memory in MEMORY_MIB:
        turns = turns_of(memory)
        at_once = max(waits([0.0] * BURST, exponential(RUN_SECONDS, _SEED), turns))
        loads = [f"{runs_a_day(turns, share)} ({waited(turns, share)})" for share in SHARES]
        machines.append([str(memory), str(turns), *loads, time(at_once)])
    head = [texts["memory"], texts["turns"], *(f"{column(share)} ({texts['wait']})" for share in SHARES), texts["burst"]]
    # The same runs a day, by one machine or by several that share nothing.
    shapes = [
        [texts["shape_row"].format(cells=cells, turns=turns), *(waited(turns, share) for share in SHARES)]
        for cells, turns in ((1, 16), (2, 8), (4, 4), (8, 2))
    ]
    shape_head = [texts["shape"], *(f"{column(share).rpartition(', ')[2]}: {texts['wait']}" for share in SHARES)]
    return f"{_markdown(head, machines)}\n{_markdown(shape_head, shapes)}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ["---"] * len(head), *rows))


if __name__ == "__main__":
    print(tables("ko" if sys.argv[1:] == ["ko"] else "en"), end="")
