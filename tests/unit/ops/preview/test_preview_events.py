"""From single events to the parts of a preview: what the recorded ones do not show, secrets first."""

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from components.host.labels import ENVIRONMENT
from ops import preview as command
from ops.errors import UserError
from ops.preview import Options, diff, engine, events, exposure, model, state
from ops.preview.model import SECRET, UNKNOWN, Drift, Preview, Step
from ops.redaction import Redactor
from ops.stack.stack import Stack

MARK = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "[secret]"}
NOTHING = Redactor.of([])
URN = "urn:pulumi:dev::skyvern::docker:index/container:Container::one"
OLD = "tr0ub4dor-and-three"


def step(op: str, old: Any = None, new: Any = None, **more: Any) -> dict[str, Any]:
    sides = {side: {"custom": True, **value} for side, value in (("old", old), ("new", new)) if value is not None}
    return {"resourcePreEvent": {"metadata": {"op": op, "urn": URN, "type": "docker:index/container:Container", **sides, **more}}}


def changes(reading: events.Reading) -> list[tuple[str, str | None, str | None]]:
    return [(change.path, change.old, change.new) for step in reading.steps for change in step.diffs]


# --- What becomes a secret -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"a": OLD}, {"a": MARK}),
        ({"a": {"b": [OLD]}}, {"a": MARK}),
        ({"envs": ["A=1", f"B={OLD}"]}, {"envs": ["A=1", MARK]}),
        # Another place in the list, and another list.
        ({"envs": [f"Z={OLD}", "A=1", "B=2"]}, {"envs": ["A=1", "B=2", MARK]}),
        ({"envs": ["A=1", f"B={OLD}"]}, {"envs": MARK}),
        ({"labels": [{"label": "x", "value": OLD}]}, {"labels": [{"label": "x", "value": MARK}]}),
        # The same text is elsewhere in the resource, and stays there.
        ({"a": OLD, "b": "x"}, {"a": MARK, "b": OLD}),
        # The other way round: a value that was a secret is not shown because it is not one any more.
        ({"a": MARK}, {"a": OLD}),
    ],
)
def test_a_plain_value_that_becomes_a_secret_is_shown_nowhere(old: Any, new: Any) -> None:
    elsewhere = [
        {"diagnosticEvent": {"severity": "error", "message": f"cannot log in with {OLD}\n", "urn": URN}},
        {"policyEvent": {"policyName": "x", "enforcementLevel": "advisory", "message": f"d\none: a: {OLD} is short"}},
    ]
    reading = events.read([step("update", {"inputs": old}, {"inputs": new}), *elsewhere], NOTHING)
    assert reading.steps
    assert OLD not in repr(reading)
    assert reading.diagnostics[0].message == f"cannot log in with {SECRET}"
    # Values beside it are still shown.
    assert not any(SECRET in str(change) for change in changes(reading) if "A" in change[0])


def container(variables: str, envs: Any = MARK) -> dict[str, Any]:
    """Inputs of a container with secrets, as the real provider keeps them. variables: its label."""
    return {"inputs": {"envs": envs, "labels": [{"label": ENVIRONMENT, "value": variables}, {"label": "x", "value": "y"}]}}


# Only that the list is another one.
HIDDEN = [("envs", SECRET, SECRET)]
IN_CLEAR = {"inputs": {"envs": ["A=1", f"B={OLD}"], "labels": [{"label": "x", "value": "y"}]}}


@pytest.mark.parametrize(
    ("old", "new", "places", "expected"),
    [
        (container("A=1\nB=2\nKEY"), container("A=1\nB=3\nKEY"), [1], [("envs[B]", "2", "3")]),
        # Another secret, by itself and together with a plain value.
        (container("A=1\nKEY"), container("A=1\nKEY"), [1], [("envs[KEY]", SECRET, SECRET)]),
        (container("A=1\nKEY"), container("A=2\nKEY"), [0, 1], [("envs[A]", "1", "2"), ("envs[KEY]", SECRET, SECRET)]),
        (container("A=1\nKEY"), container("A=1\nKEY"), [None], HIDDEN),
        # With other names, a place belongs to no variable in particular.
        (container("A=1\nKEY"), container("A=1\nB=\nKEY\nN"), [1, 3], [("envs[B]", None, ""), ("envs[N]", None, SECRET)]),
        # What was plain and is a secret now, and the other way round.
        (container(f"B={OLD}\nKEY"), container("B\nKEY"), [0], [("envs[B]", SECRET, SECRET)]),
        (container("B\nKEY"), container(f"B={OLD}\nKEY"), [0], [("envs[B]", SECRET, SECRET)]),
        (IN_CLEAR, container("A=1\nB"), [1], [("envs[B]", SECRET, SECRET)]),
        (IN_CLEAR, container("A=1\nB\nC"), [1], [("envs[C]", None, SECRET)]),
    ],
)
def test_the_variables_of_a_container_with_secrets_are_shown_one_by_one(old: Any, new: Any, places: Any, expected: Any) -> None:
    """places: of the variables that the provider names, None where it names the list."""
    paths = ["labels[0].value", *("envs" if place is None else f"envs[{place}]" for place in places)]
    differs = {path: {"diffKind": "update-replace", "inputDiff": False} for path in paths}
    old["outputs"] = old["inputs"]
    reading = events.read([step("replace", old, new, detailedDiff=differs)], NOTHING)
    assert changes(reading) == expected
    assert reading.steps[0].reasons == tuple(path for path, _, _ in expected)
    assert OLD not in repr(reading)


def test_a_container_without_the_label_hides_its_variables() -> None:
    silent = {"inputs": {"envs": MARK, "labels": [{"label": "x", "value": "y"}]}}
    reading = events.read([step("update", silent, container("A=1"))], NOTHING)
    assert changes(reading) == [
        (f"labels[{ENVIRONMENT}].label", None, ENVIRONMENT),
        (f"labels[{ENVIRONMENT}].value", None, "A=1"),
    ]


def test_a_secret_that_becomes_another_is_shown_by_its_mark() -> None:
    differs = {"envs": {"diffKind": "update-replace", "inputDiff": False}}
    reading = events.read(
        [step("replace", {"inputs": {"envs": [MARK]}}, {"inputs": {"envs": [MARK]}}, detailedDiff=differs)], NOTHING
    )
    (replaced,) = reading.steps
    assert (changes(reading), replaced.reasons) == ([("envs", SECRET, SECRET)], ("envs",))


def test_an_unknown_value_is_called_so() -> None:
    unknown = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
    reading = events.read([step("update", {"inputs": {"a": "1"}}, {"inputs": {"a": unknown, "b": f"x-{unknown}"}})], NOTHING)
    assert changes(reading) == [("a", "1", UNKNOWN), ("b", None, f"x-{UNKNOWN}")]


# --- Steps -----------------------------------------------------------------------------------------------------------------


def test_the_steps_of_a_replacement_are_one() -> None:
    sides = ({"inputs": {"image": "a"}}, {"inputs": {"image": "b"}})
    differs = {"image": {"diffKind": "update-replace", "inputDiff": True}}
    three = [step(op, *sides, detailedDiff=differs) for op in ("delete-replaced", "replace", "create-replacement")]
    (replaced,) = events.read(three, NOTHING).steps
    assert (replaced.operation, replaced.reasons, replaced.diffs[0].forces) == ("replace", ("image",), True)


def test_components_and_default_providers_have_no_step() -> None:
    component = step("create", new={"inputs": {}, "custom": False})
    provider = step("create", new={"inputs": {}})
    provider["resourcePreEvent"]["metadata"] |= {"type": "pulumi:providers:docker", "urn": f"{URN}::default_5_2_0"}
    assert events.read([component, provider], NOTHING).resources == ()


@pytest.mark.parametrize(
    ("type_", "name", "protect", "stateful"),
    [
        ("docker:index/volume:Volume", "data", False, True),
        ("docker:index/volume:Volume", "postgres-socket", False, False),
        ("random:index/randomPassword:RandomPassword", "superuser", True, True),
        ("random:index/randomPassword:RandomPassword", "ui-login", False, False),
        ("docker:index/container:Container", "server", False, False),
    ],
)
def test_what_is_stateful(type_: str, name: str, protect: bool, stateful: bool) -> None:
    event = step("delete", {"inputs": {}, "protect": protect})
    event["resourcePreEvent"]["metadata"] |= {"type": type_, "urn": f"urn:pulumi:dev::skyvern::{type_}::{name}"}
    (deleted,) = events.read([event], NOTHING, disposable=["*-socket"]).steps
    assert (deleted.stateful, deleted.protected) == (stateful, protect)
    assert Preview(stack="dev", made=NOW, steps=(deleted,)).outcome == ("stateful" if stateful else "delete")


def test_policies_are_violated_exempted_or_could_not_run() -> None:
    def event_of(rule: str, text: str, level: str = "advisory") -> dict[str, Any]:
        message = f"what holds\n{text}"
        return {"policyEvent": {"policyName": rule, "enforcementLevel": level, "message": message, "resourceUrn": URN}}

    policies = events.read(
        [
            event_of("docker-container-unprivileged", "one: privileged: root on the host; write privileged=False", "mandatory"),
            event_of(
                "docker-container-root-read-only", "exempted until 2027-01-31 (writes below /usr): one: readOnly: why; write x"
            ),
            event_of(
                "policy-value-known", "one: envs[1]: known after the update only, so not checked now, but then; by a-b-c, d-e-f"
            ),
        ],
        NOTHING,
    ).policies
    assert [(result.rule, result.outcome, result.message) for result in policies] == [
        ("docker-container-unprivileged", "violated", "privileged: root on the host; write privileged=False"),
        ("docker-container-root-read-only", "exempted", "readOnly: why; write x (exempted: writes below /usr)"),
        ("a-b-c", "could not run", "envs[1]"),
        ("d-e-f", "could not run", "envs[1]"),
    ]
    assert policies[1].expires == datetime.date(2027, 1, 31)
    assert (policies[0].cis, policies[0].severity) == (("5.5",), "critical")


# --- Differences and exposure ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"envs": ["A=1", "B=2"]}, {"envs": ["B=2", "C=3"]}, [("envs[A]", "1", None), ("envs[C]", None, "3")]),
        (
            {"x": [{"name": "a", "v": 1}]},
            {"x": [{"name": "b", "v": 2}, {"name": "a", "v": 1}]},
            [("x[b].name", None, "b"), ("x[b].v", None, "2")],
        ),
        ({"a": None}, {"a": False}, [("a", None, "false")]),
        ({"a": ["x", "y"]}, {"a": ["x"]}, [("a[y]", "y", None)]),
        ({"a": {"b": 1}}, {"a": {"b": 1}}, []),
    ],
)
def test_differences_by_paths(old: Any, new: Any, expected: list[tuple[str, str | None, str | None]]) -> None:
    assert [(change.path, change.old, change.new) for change in diff.differences(old, new)] == expected


def test_of_a_long_text_the_changed_lines_are_shown() -> None:
    (change,) = diff.differences({"command": ["x", "a\nb\nc\nd"]}, {"command": ["x", "a\nb\nC\nd"]}, ["command"])
    assert (change.path, change.forces, change.lines) == ("command[1]", True, (" b", "-c", "+C", " d"))


def test_ports_records_and_domains_that_come_and_go() -> None:
    port = {"ports": [{"internal": 5432, "external": 5432, "ip": "0.0.0.0"}]}  # noqa: S104
    (gained,) = exposure.exposures(exposure.CONTAINER, "db", {"ports": []}, port)
    assert (gained.change, gained.kind, gained.what) == ("gained", "port", "0.0.0.0:5432 (to 5432/tcp, open to the network)")
    record = {"name": "app.example.com", "type": "CNAME", "content": "x", "proxied": True}
    (changed,) = exposure.exposures("cloudflare:index/dnsRecord:DnsRecord", "app", record, {**record, "proxied": False})
    assert changed.what == "app.example.com: CNAME to x → CNAME to x, past Cloudflare's proxy"
    (lost,) = exposure.exposures("vercel:index/projectDomain:ProjectDomain", "ui", {"domain": "app.example.com"}, None)
    assert (lost.change, lost.what) == ("lost", "app.example.com (on Vercel)")


def test_code_that_callers_may_run_is_an_exposure() -> None:
    off = {"envs": ["CODE_BLOCK_MODE=disabled", "TZ=UTC"]}
    on = {"envs": ["CODE_BLOCK_MODE=enabled", "TZ=UTC"]}
    (gained,) = exposure.exposures(exposure.CONTAINER, "server", off, on)
    assert (gained.change, gained.kind) == ("gained", "code")
    assert gained.what.startswith("Python of anyone with the UI's login or a key (beside the server's secrets")
    (lost,) = exposure.exposures(exposure.CONTAINER, "server", on, off)
    assert lost.change == "lost"
    assert not list(exposure.exposures(exposure.CONTAINER, "server", off, {"envs": "[secret]"}))


# --- State and configuration -----------------------------------------------------------------------------------------------


def exported(**changes: Any) -> dict[str, Any]:
    resource = {"urn": URN, "inputs": {"a": "1", "key": {**MARK}}, "modified": "2026-01-01T00:00:00Z", **changes}
    return {"manifest": {"time": "now"}, "resources": [resource]}


def test_the_digest_of_a_state_is_that_of_what_is_there() -> None:
    same = state.digest(exported())
    sealed = {"4dabf18193072939515e22adb298388d": MARK["4dabf18193072939515e22adb298388d"], "plaintext": '"x"'}
    assert same == state.digest(exported(modified="later")) == state.digest(exported(inputs={"a": "1", "key": sealed}))
    assert same != state.digest(exported(inputs={"a": "2", "key": MARK}))
    assert same != state.digest({**exported(), "pending_operations": [{"type": "creating"}]})
    assert state.digest({}) == ""


def test_secrets_of_a_state_are_its_marks_and_not_what_is_beside_them() -> None:
    def seal(value: Any) -> dict[str, Any]:
        return {"4dabf18193072939515e22adb298388d": MARK["4dabf18193072939515e22adb298388d"], "plaintext": json.dumps(value)}

    inputs = {"envs": ["TZ=Asia/Seoul", seal("SECRET_KEY=abcdef")]}
    outputs = {"envs": seal(["TZ=Asia/Seoul", "SECRET_KEY=abcdef"])}
    assert state.state_secrets(exported(inputs=inputs, outputs=outputs)) == {"SECRET_KEY=abcdef", "abcdef"}
    # The real provider seals the list on both sides; then the container's label tells.
    labels = [{"label": ENVIRONMENT, "value": "SECRET_KEY\nTZ=Asia/Seoul"}]
    whole = {"envs": outputs["envs"], "labels": labels}
    assert state.state_secrets(exported(inputs=whole, outputs=whole)) == {"SECRET_KEY=abcdef", "abcdef"}


@pytest.mark.parametrize(("sensitive", "secrets"), [(False, set()), (True, {"skyvern"})])
def test_what_vercel_shows_the_whole_team_is_not_a_secret(sensitive: bool, secrets: set[str]) -> None:
    value = {"value": {**MARK, "plaintext": '"skyvern"'}, "sensitive": sensitive}
    deployment = exported(inputs=value, outputs=value)
    deployment["resources"][0]["type"] = state.VARIABLE
    assert state.state_secrets(deployment) == secrets


def test_configuration_is_shown_without_its_secrets() -> None:
    file = {"skyvern:llm": {"provider": "openai", "api_key": {"secure": "v1:abc"}}, "skyvern:rotation": {"api_key": 2}}
    assert state.flat_config(file, NOTHING) == {
        "skyvern:llm.api_key": SECRET,
        "skyvern:llm.provider": "openai",
        "skyvern:rotation.api_key": "2",
    }
    shown = {"skyvern:llm": {"objectValue": {"provider": "openai", "api_key": "sk-of-a-person"}, "secret": True}}
    assert state.config_secrets(file, shown) == {"sk-of-a-person"}


# --- The command -----------------------------------------------------------------------------------------------------------

NOW = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)
CLEAN = Preview(stack="dev", made=NOW)
CHANGED = Preview(stack="dev", made=NOW, steps=(Step(urn=URN, type="t", name="one", operation="update"),))
REFUSED = Preview(
    stack="dev", made=NOW, policies=(model.PolicyResult(rule="a-b-c", outcome="violated", level="mandatory", message="x"),)
)
FAILED = Preview(stack="dev", made=NOW, failure="no")
DRIFTED = Preview(stack="dev", made=NOW, drift=Drift(checked=True, unmanaged=("container x",)))
BLIND = Preview(stack="dev", made=NOW, drift=Drift(checked=True, failure="no daemon"))


@pytest.mark.parametrize(
    ("previews", "code"),
    [
        ([CLEAN], 0),
        ([CLEAN, CHANGED], 2),
        ([DRIFTED], 2),
        ([CHANGED, REFUSED], 3),
        ([REFUSED, FAILED], 1),
        # What could not be looked at must not pass for clean.
        ([BLIND], 1),
    ],
)
def test_exit_codes(previews: list[Preview], code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = tmp_path / "previews.json"
    stored.write_text(model.dump(previews))
    assert command.main([], Options(), [stored]) == code
    assert capsys.readouterr().out.startswith("<!-- skyvern-preview -->\n")
    assert command.main([], Options(form="json", output=tmp_path / "again.json"), [stored]) == code
    assert (tmp_path / "again.json").read_text() == stored.read_text()


def test_wrong_inputs_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def preview(stack: Stack, **_: object) -> Preview:
        raise AssertionError(f"{stack} was looked at before all files were")

    monkeypatch.setattr(engine, "preview", preview)
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}\n")
    with pytest.raises(UserError, match=r"^Pulumi\.none\.yaml: does not exist; copy Pulumi\.dev\.yaml to it"):
        command.main([Stack("dev", root=tmp_path), Stack("organization/skyvern/none", root=tmp_path)], Options())
    with pytest.raises(UserError, match="--from takes the place of stacks"):
        command.main([Stack("dev")], Options(), [tmp_path / "x"])
    for swallowed in (Options(base="abc"), Options(drift=False)):
        with pytest.raises(UserError, match="--from reads previews as they were made; leave out --base and --no-drift"):
            command.main([], swallowed, [tmp_path / "x"])
    for swallowed in (Options(form="json", link="https://example.com"), Options(form="json", limit=0)):
        with pytest.raises(UserError, match="--link and --limit are for markdown; leave them out"):
            command.main([Stack("dev", root=tmp_path)], swallowed)
    with pytest.raises(UserError, match=r"x: No such file or directory; make it with bin/ops preview --format json"):
        command.main([], Options(), [tmp_path / "x"])
    (tmp_path / "x").write_text("[{}]")
    with pytest.raises(UserError, match=r"x: 0\.stack: is not a preview; make it with"):
        command.main([], Options(), [tmp_path / "x"])
