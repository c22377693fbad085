"""ops.review.record, and ops.review.apply with doubles: what a record holds, and that nothing is applied that differs from it."""

import contextlib
import dataclasses
import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ops.clients import git
from ops.deploy import danger, guard, preflight, releases, repair, update, upgrade
from ops.errors import UserError
from ops.images import build
from ops.preview import engine
from ops.preview.model import Drift, PolicyResult, Preview, Step
from ops.preview.report import code
from ops.review import apply, record
from ops.review.record import Record
from ops.stack.stack import Stack
from tests.support.lock import held
from tests.support.previews import GATEWAY, PREVIEW, SERVER, TREE, step
from tests.support.stack_outputs import OUTPUTS


def record_of(**changes: Any) -> Record:
    return record.record(dataclasses.replace(PREVIEW, **changes), tree=TREE)


def drifted(*steps: Step, unmanaged: tuple[str, ...] = ("network x",)) -> dict[str, Any]:
    return {"drift": Drift(checked=True, steps=steps, unmanaged=unmanaged)}


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "review.json"
    path.write_text(record.dump(record_of()))
    assert record.load(path) == record_of()
    assert record.differences(record.load(path), record_of(made=datetime.datetime.now(datetime.UTC), head="d" * 40)) == ()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"failure": "the program failed"}, "the preview failed; the program failed"),
        ({"drift": Drift(failure="no daemon")}, "the preview failed; no daemon"),
        (
            {"policies": (PolicyResult(rule="x", outcome="violated", level="mandatory", message=""),)},
            "a mandatory policy refuses the change; see the report",
        ),
    ],
)
def test_what_must_not_be_applied_has_no_record(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(UserError) as raised:
        record_of(**changes)
    assert str(raised.value) == f"stack prod: no review record: {why}"


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"stack": "dev"}, "the record is of stack prod"),
    (
        {"images": {"skyvern-prod-gateway": "localhost/skyvern/gateway:2"}},
        "the image of skyvern-prod-gateway: localhost/skyvern/gateway:1 was reviewed, localhost/skyvern/gateway:2 would run",
    ),
    ({"images": {}}, "the image of skyvern-prod-gateway: localhost/skyvern/gateway:1 was reviewed, none would run"),
    ({"config_hash": "another"}, "the configuration (Pulumi.prod.yaml or Pulumi.yaml)"),
    ({"versions": {"engine": "3.273.0"}}, "the version of engine: 3.272.0 was reviewed, 3.273.0 is here"),
    ({"state_digest": "another"}, "the state: something was applied after the preview of 2026-01-31 09:30 UTC"),
    (
        drifted(step(SERVER, "update", "memory"), step(GATEWAY, "update", "restart")),
        "skyvern-host-gateway-caddy: changed by hand (restart)",
    ),
    (drifted(step(SERVER, "delete")), "skyvern-host-server: removed by hand"),
    (drifted(), "no longer drifted: skyvern-host-server"),
    (drifted(step(SERVER, "update", "memory"), unmanaged=("network x", "container y")), "not in the state: container y"),
    (drifted(step(SERVER, "update", "memory"), unmanaged=()), "removed: network x"),
    ({"steps": ()}, "the plan: no longer replace skyvern-host-gateway-caddy"),
    (
        {"steps": (step(GATEWAY, "update", "image"),)},
        "the plan: update skyvern-host-gateway-caddy (replace was reviewed)",
    ),
    (
        {"steps": (step(GATEWAY, "replace", "image", "envs[TOKEN]", new="3"),)},
        "the plan: replace skyvern-host-gateway-caddy (other values of envs[TOKEN], image)",
    ),
    (
        {"steps": (*PREVIEW.steps, *(step(f"{SERVER}-{number}", "create") for number in range(4)))},
        "the plan: create skyvern-host-server-0, create skyvern-host-server-1, create skyvern-host-server-2 and 1 more",
    ),
]


@pytest.mark.parametrize(("changes", "clause"), CHANGES)
def test_whatever_moved_is_named(changes: dict[str, Any], clause: str) -> None:
    assert record.differences(record_of(), record_of(**changes)) == (clause,)


def test_every_field_of_a_record_is_compared() -> None:
    compared = {name for changes, _ in CHANGES for name in changes}
    assert {field.name for field in dataclasses.fields(Record)} - compared == {"form", "tree", "commit", "made", "unmanaged"}
    (clause,) = record.differences(record_of(), dataclasses.replace(record_of(), tree="b" * 40))
    assert clause == "the files: tree aaaaaaaaaaaa was reviewed, bbbbbbbbbbbb is checked out"


@pytest.mark.parametrize("change", [{"form": 2}, {"another": 1}, {"steps": [{"urn": 1}]}, None])
def test_another_document_is_one_line(tmp_path: Path, change: dict[str, Any] | None) -> None:
    path = tmp_path / "review.json"
    path.write_text("[]" if change is None else json.dumps(json.loads(record.dump(record_of())) | change))
    with pytest.raises(UserError, match=r"is not a review record of this version; make it with bin/ops review$"):
        record.load(path)
    with pytest.raises(UserError, match=r"cannot be read \(No such file or directory\)"):
        record.load(tmp_path / "none")


# --- Applying ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Doubles for everything outside; the list has the calls."""
    calls: list[str] = []

    def call(name: str, answer: object = None) -> Callable[..., Any]:
        def called(*arguments: object, **named: object) -> object:
            assert all(argument == Stack("prod") for argument in arguments if isinstance(argument, Stack))
            calls.append(name)
            return answer

        return called

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("ops.stack.stack.ROOT", tmp_path)
    (tmp_path / "Pulumi.prod.yaml").write_text("config:\n  skyvern:host:\n    docker_host: unix:///run/x.sock\n")
    (tmp_path / "review.json").write_text(record.dump(record_of()))
    monkeypatch.setattr(guard, "check", call("guard"))
    monkeypatch.setattr(git, "tree_of", call("tree", TREE))
    monkeypatch.setattr(build, "build", call("images"))
    monkeypatch.setattr(preflight, "check_addresses", call("addresses"))
    monkeypatch.setattr(preflight, "check", call("preflight"))
    monkeypatch.setattr(Stack, "state", lambda stack: {})
    monkeypatch.setattr(danger, "take_set", lambda *_: None)
    monkeypatch.setattr(danger, "refuse_other_place", lambda *_: None)
    monkeypatch.setattr(upgrade, "plan", lambda stack, docker, settings: None)
    monkeypatch.setattr(update, "pulumi_up", call("up"))
    monkeypatch.setattr(repair, "wait_until_healthy", call("healthy"))
    monkeypatch.setattr(Stack, "outputs", call("outputs", OUTPUTS))
    monkeypatch.setattr(update, "run_smoke", call("smoke", (21, 21)))
    monkeypatch.setattr(releases, "record_good", call("note"))
    monkeypatch.setattr(upgrade, "finished", call("finished"))
    monkeypatch.setattr(releases, "rollback_hint", call("way back", "the way back"))
    return calls


def apply_with(preview: Preview, folder: Path, outcome: Path | None) -> None:
    """Applies while this is the preview that the engine makes."""

    def made(stack: Stack, *, drift: bool) -> Preview:
        assert (stack, drift) == (Stack("prod"), True)
        return preview

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "preview", made)
        apply.apply(folder / "review.json", unreviewed=False, outcome=outcome, progress=lambda _: None)


def run(folder: Path, preview: Preview = PREVIEW) -> str:
    """Applies; returns the outcome, also of a refusal."""
    outcome = folder / "outcome.md"
    with contextlib.suppress(UserError):
        apply_with(preview, folder, outcome)
    return outcome.read_text()


def test_what_was_reviewed_is_applied(seen: list[str], tmp_path: Path) -> None:
    assert run(tmp_path) == "✅ stack prod: applied 1 steps at cccccccccccc; 21 of 21 smoke checks are green.\n"
    assert seen == ["guard", "tree", "images", "addresses", "preflight", "up", "healthy", "outputs", "smoke", "note", "finished"]


def test_beside_another_command_nothing_is_applied(seen: list[str], tmp_path: Path) -> None:
    with held(stack="prod"):
        assert "stack prod: nothing was changed: bin/ops restore is at work on it" in run(tmp_path)
    assert seen == ["guard", "tree", "images"]


def test_an_empty_plan_is_tried_out_all_the_same(seen: list[str], tmp_path: Path) -> None:
    preview = dataclasses.replace(PREVIEW, steps=())
    (tmp_path / "review.json").write_text(record.dump(record_of(steps=())))
    assert run(tmp_path, preview).startswith("✅ stack prod: nothing to apply at ")
    assert seen == ["guard", "tree", "images", "outputs", "smoke", "note", "finished"]


@pytest.mark.parametrize(("changes", "clause"), [change for change in CHANGES if change[0].get("stack") is None])
def test_what_moved_is_not_applied(seen: list[str], tmp_path: Path, changes: dict[str, Any], clause: str) -> None:
    now = dataclasses.replace(PREVIEW, **changes)
    written = run(tmp_path, now)
    assert written.startswith("❌ `ops apply: nothing was changed, because this is not what was reviewed: ")
    assert clause in written
    with pytest.raises(UserError) as refused:
        apply_with(now, tmp_path, None)
    assert f"❌ {code(str(refused.value))}\n" == written
    assert "up" not in seen


def test_no_image_is_built_for_other_files(seen: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "tree_of", lambda _: "b" * 40)
    assert "the files: tree aaaaaaaaaaaa was reviewed" in run(tmp_path)
    assert seen == ["guard"]


def test_a_preview_that_fails_now_applies_nothing(seen: list[str], tmp_path: Path) -> None:
    assert "the preview failed; no daemon" in run(tmp_path, dataclasses.replace(PREVIEW, drift=Drift(failure="no daemon")))
    assert "up" not in seen


def test_a_red_smoke_stops_and_names_the_way_back(seen: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "run_smoke", lambda *_: (19, 21))
    assert run(tmp_path) == (
        "❌ `ops apply: applied, but 19 of 21 smoke checks are green, and the stack is left as it is; the way back`\n"
    )
    assert seen[-1] == "way back"
    assert "note" not in seen


def test_an_interrupted_deployment_is_reported(seen: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(update, "pulumi_up", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert (tmp_path / "outcome.md").read_text() == "❌ The deployment was interrupted; see its log.\n"
