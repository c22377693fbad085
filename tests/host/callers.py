"""A client that goes on using the API while something happens to the stack: a call twice a second, a run every five seconds.

It waits as long as an answer takes, tries nothing again, and takes another key when it is given one.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import httpx

from ops.observe.smoke.site import Site
from ops.observe.smoke.workflow_checks import definition, read_run
from skyvern_provider.api import FINAL
from tests.support.waiting import repeated, wait_for

# Longer than the gateway holds a request for a server that starts.
ANSWER_SECONDS = 300


@dataclass(frozen=True)
class Answer:
    """began: of the monotonic clock. status: or the name of the error by which the connection ended. key: that was sent."""

    began: float
    seconds: float
    status: int | str
    key: str = field(repr=False)
    text: str = ""


@dataclass
class Caller:
    """answers: to the calls twice a second. starts: to the requests for a run. runs: the ids of those that were accepted."""

    site: Site
    workflow_id: str
    key: str = field(repr=False)
    answers: list[Answer] = field(default_factory=list)
    starts: list[Answer] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)

    def ask(self) -> None:
        self._send(self.answers, "GET", "/v1/workflows?page_size=1")

    def start(self) -> None:
        answer = self._send(self.starts, "POST", "/v1/run/workflows", {"workflow_id": self.workflow_id})
        if answer is not None and answer.status_code == 200:
            self.runs.append(answer.json()["run_id"])

    def _send(self, answers: list[Answer], method: str, path: str, body: Any = None) -> httpx.Response | None:
        began, key = monotonic(), self.key
        url = self.site.outputs.api_url + path
        request = self.site.http.build_request(method, url, headers={"x-api-key": key}, json=body, timeout=ANSWER_SECONDS)
        try:
            answer = self.site.http.send(request)
        except httpx.TransportError as failed:
            answers.append(Answer(began, monotonic() - began, type(failed).__name__, key))
            return None
        answers.append(
            Answer(began, monotonic() - began, answer.status_code, key, "" if answer.is_success else answer.text[:200])
        )
        return answer

    def wait_for_answers(self, count: int = 4) -> None:
        """Until so many more calls have been answered well."""
        before = len(self.answers)
        wait_for(lambda: [answer.status for answer in self.answers[before:]].count(200) >= count, self.summary, seconds=300)

    def summary(self) -> str:
        """How many answers of which status, and the longest."""

        def line(answers: list[Answer]) -> str:
            return f"{dict(Counter(answer.status for answer in answers))}, longest {max(one.seconds for one in answers):.1f} s"

        return f"calls: {line(self.answers)}; starts of runs: {line(self.starts)}" if self.starts else line(self.answers)


@contextmanager
def calling(site: Site) -> Iterator[Caller]:
    """From the first good answers to the last ones. site: as a person's (as_person)."""
    made = site.api("POST", "/v1/workflows", body=definition("While a client calls", site.outputs.smoke_url + "/", 1))
    assert made.status_code == 200, made.text
    caller = Caller(site, made.json()["workflow_permanent_id"], site.outputs.api_key.get_secret_value())
    with repeated(caller.ask, 0.5), repeated(caller.start, 5):
        caller.wait_for_answers()
        yield caller
        caller.wait_for_answers()


def wrong(answers: list[Answer], *allowed: int) -> list[Answer]:
    """Answers with another status. That the server is about to restart, and when to come back, is an answer to a new run."""
    return [one for one in answers if one.status not in allowed and not (one.status == 503 and "about to restart" in one.text)]


def unended_runs() -> str:
    """The question to Skyvern's database for the runs that have not ended: id and status."""
    finals = ", ".join(f"'{status}'" for status in FINAL)
    return f"SELECT workflow_run_id, status FROM workflow_runs WHERE status NOT IN ({finals})"  # noqa: S608


def ends_of(site: Site, runs: list[str]) -> Counter[tuple[str, str]]:
    """How many runs ended with which status and reason.

    AssertionError where one has not ended in time, is not there, or was not completed and has no reason.
    """
    left, ends = list(runs), Counter[tuple[str, str]]()

    def all_ended() -> bool:
        for run in list(left):
            found = read_run(site, run)
            if found["status"] in FINAL:
                left.remove(run)
                ends[found["status"], str(found["failure_reason"] or "")[:120]] += 1
        return not left

    wait_for(all_ended, lambda: f"not ended: {left}; {ends}", seconds=60 + 30 * len(runs), pause=2)
    print(f"{len(runs)} runs: {ends}")
    assert all(reason for status, reason in ends if status != "completed")
    return ends
