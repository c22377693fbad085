"""An update that ends at any of its requests: the next one finishes, and nothing is there twice.

As the engine does it: state is written behind each resource, and what failed is repeated from the last state. Behind the real
engine, with a killed provider: tests/engine/test_automations.py.
"""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from skyvern_provider.api import Api, ApiError
from skyvern_provider.kinds import Call, Credential, Folder, Kind, Lists, Schedule, Workflow
from tests.support.skyvern_api import Skyvern

Json = dict[str, Any]
# Name -> kind, and inputs from the ids of what was made before.
Wanted = dict[str, tuple[Kind, Callable[[dict[str, str]], Json]]]


class Stack:
    """The state of a stack: id, inputs and outputs by name."""

    def __init__(self, skyvern: Skyvern) -> None:
        self.skyvern = skyvern
        self.state: dict[str, tuple[Kind, str, Json, Json]] = {}

    def up(self, wanted: Wanted) -> None:
        """One resource after the other; what is not wanted goes at the end. ApiError leaves the state as it is by then."""
        api = Api("http://localhost", self.skyvern.key, transport=self.skyvern.transport())
        call = Call(api=api)
        for name, (kind, inputs_of) in wanted.items():
            inputs = inputs_of({known: entry[1] for known, entry in self.state.items()})
            if name not in self.state:
                identifier, outputs = kind.create(call, inputs)
            elif self.state[name][2] == inputs:
                continue
            else:
                identifier = self.state[name][1]
                outputs = kind.update(call, identifier, self.state[name][3], inputs)
            self.state[name] = (kind, identifier, inputs, outputs)
        for name in [name for name in reversed(self.state) if name not in wanted]:
            kind, identifier, *_ = self.state[name]
            kind.delete(call, identifier)
            del self.state[name]


def wanted(number: int, name: str) -> Wanted:
    """A folder, a credential, and a workflow with its schedule. name: of all of them."""
    title = {"title": f"Daily {number}", "workflow_definition": {"parameters": [], "blocks": []}}
    values = {"username": "u", "password": f"password {number}"}
    cron = {"cron": f"{number % 60} 9 * * *", "timezone": "Asia/Seoul", "parameters": {}, "enabled": True}
    return {
        f"folder-{name}": (Folder(), lambda _: {"title": f"{name} {number}"}),
        f"credential-{name}": (Credential(), lambda _: {"name": name, "type": "password", "values": values}),
        f"workflow-{name}": (
            Workflow(),
            lambda ids: {
                "name": name,
                "folder_id": ids[f"folder-{name}"],
                "definition": {**title, "description": ids[f"credential-{name}"]},
            },
        ),
        f"schedule-{name}": (Schedule(), lambda ids: {"workflow_id": ids[f"workflow-{name}"], "name": name, **cron}),
    }


@pytest.mark.parametrize("renamed", [False, True], ids=["changed", "renamed"])
def test_an_update_that_ends_at_any_request_is_finished_by_the_next(renamed: bool) -> None:
    skyvern = Skyvern()
    stack = Stack(skyvern)
    stack.up(wanted(0, "daily"))
    for number in itertools.count(1):
        skyvern.requests.clear()

        def cut(at: int = number) -> None:
            if len(skyvern.requests) == at:
                raise ApiError("the answer was lost")

        skyvern.before_answer = cut
        resources = wanted(number, f"daily-{number}" if renamed else "daily")
        try:
            stack.up(resources)
        except ApiError:
            skyvern.before_answer = lambda: None
            stack.up(resources)
        else:
            break
        [workflow] = [versions[-1] for key, versions in skyvern.versions.items() if key not in skyvern.deleted]
        [schedule], [credential], [folder] = skyvern.schedules.values(), skyvern.credentials.values(), skyvern.folders.values()
        assert (workflow["title"], workflow["folder_id"]) == (f"Daily {number}", folder["folder_id"])
        assert workflow["description"] == credential["credential_id"]
        # Without its tags an interrupted creation is written again.
        assert workflow["version"] in ({1, 2} if renamed else {number + 1})
        assert schedule["workflow_permanent_id"] == workflow["workflow_permanent_id"]
        assert schedule["cron_expression"] == f"{number % 60} 9 * * *"
        assert credential["credential"]["password"] == f"password {number}"
        skyvern.requests.clear()
        stack.up(resources)
        assert skyvern.requests == []
    assert number > 8


def test_the_lists_of_a_refresh_are_asked_for_once_and_not_behind_a_write() -> None:
    skyvern = Skyvern()
    stack = Stack(skyvern)
    stack.up(wanted(0, "daily"))
    api = Api("http://localhost", skyvern.key, transport=skyvern.transport())
    call = Call(api=api, lists=Lists(api))
    assert call.lists is not None
    _, workflow, inputs, outputs = stack.state["workflow-daily"]
    _, schedule, _, of_schedule = stack.state["schedule-daily"]
    skyvern.requests.clear()
    for _ in range(3):
        assert Workflow().read(call, workflow, outputs) == (inputs, outputs)
        found = Schedule().read(call, schedule, of_schedule)
        assert found is not None
        assert found[1] == of_schedule
    assert skyvern.requests == ["GET /v1/workflows", "GET /v1/schedules"]
    call.lists.forget()
    skyvern.edit(workflow, "by hand")
    seen = Workflow().read(call, workflow, outputs)
    assert seen is not None
    assert seen[1]["ui_version"] == 2
    skyvern.deleted.add(workflow)
    assert Workflow().read(call, workflow, outputs) is None
