"""Small modules of the server's image against the functions of the wheel that it installs: mails, and the limit of a run's time.

On the real server: tests/host/test_approvals.py.
"""

import ast
import asyncio
import os
import re
import smtplib
import ssl
import sys
from collections.abc import Iterator
from email.message import EmailMessage
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from lab.standins.edge.certificates import Authority
from tests.support import mail, skyvern_wheel
from tests.support.mail import MailServer
from tests.support.server_image import load

EMAIL = "skyvern/forge/sdk/api/email.py"
LIMITS = "skyvern/forge/sdk/workflow/models/run_limits.py"
MINUTES = "WORKFLOW_RUN_DEFAULT_MAX_ELAPSED_TIME_MINUTES"


def functions(path: str, *names: str, **doubles: Any) -> ModuleType:
    """A module with some of the wheel's functions, which find doubles for everything else."""
    module = ModuleType(path.removesuffix(".py").replace("/", "."))
    vars(module).update(doubles)
    tree = ast.parse(skyvern_wheel.text(path))
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in names]
    assert len(tree.body) == len(names)
    for node in tree.body:
        without_annotations(node)
    exec(compile(tree, path, "exec"), vars(module))  # noqa: S102
    return module


def without_annotations(node: ast.stmt) -> None:
    """Their names are not there."""
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    node.returns = None
    for argument in (*node.args.args, *node.args.kwonlyargs):
        argument.annotation = None


# --- Mails -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def box(authority: Authority) -> Iterator[MailServer]:
    with mail.serving(authority, "localhost") as server:
        yield server


@pytest.fixture
def settings(box: MailServer) -> SimpleNamespace:
    return SimpleNamespace(SMTP_HOST="localhost", SMTP_PORT=box.port, SMTP_USERNAME="me", SMTP_PASSWORD="the-password")


@pytest.fixture
def skyvern(settings: SimpleNamespace) -> ModuleType:
    """The wheel's functions that send a mail. Recipients are not looked up."""

    def set_body(message: EmailMessage, body: str, *_: object) -> None:
        message.set_content(body)

    return functions(
        EMAIL,
        *("_send_blocking", "_send", "build_message", "send", "normalize_recipients"),
        _RECIPIENT_SEPARATORS=re.compile("[,;]"),
        _SMTP_SOCKET_TIMEOUT_SECONDS=5,
        EmailBodyFormat=SimpleNamespace(TEXT="text"),
        EmailMessage=EmailMessage,
        LOG=SimpleNamespace(info=lambda *_, **__: None, error=lambda *_, **__: None),
        SettingsManager=SimpleNamespace(get_settings=lambda: settings),
        asyncio=asyncio,
        set_body=set_body,
        smtplib=smtplib,
        validate_recipients=lambda recipients: None,
    )


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("approval_mail.py", monkeypatch)


def send(skyvern: ModuleType, sender: str = "hello@skyvern.com") -> None:
    asyncio.run(skyvern.send(sender=sender, subject="Approve", recipients=["a@b.example; c@d.example"], body="Look at it."))


def test_skyvern_by_itself_gives_the_password_to_anyone_and_names_its_vendor(skyvern: ModuleType, box: MailServer) -> None:
    send(skyvern)
    assert box.logins == [("me", "the-password")]
    assert box.messages[0]["From"] == "hello@skyvern.com"


def test_a_certificate_that_is_not_trusted_gets_no_password(skyvern: ModuleType, box: MailServer, module: ModuleType) -> None:
    module.replace(skyvern, sender="approvals@example.com", verify=True)
    with pytest.raises(ssl.SSLCertVerificationError):
        send(skyvern)
    assert (box.logins, box.messages) == ([], [])


@pytest.mark.parametrize("verify", [True, False])
def test_a_mail_leaves_from_the_address_of_the_stack(
    skyvern: ModuleType,
    box: MailServer,
    module: ModuleType,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    verify: bool,
) -> None:
    if verify:
        trusting = ssl.create_default_context(cafile=authority.certificate)
        monkeypatch.setattr(ssl, "create_default_context", lambda: trusting)
    module.replace(skyvern, sender="approvals@example.com", verify=verify)
    send(skyvern)
    send(skyvern, "own@example.com")
    assert box.logins == [("me", "the-password")] * 2
    assert [message["From"] for message in box.messages] == ["approvals@example.com", "own@example.com"]
    assert box.messages[0]["To"] == "a@b.example, c@d.example"
    assert "Look at it." in box.messages[0].as_string()


def test_port_465_is_tls_from_the_first_byte(authority: Authority, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    with mail.serving(authority, "localhost", from_the_start=True) as box:
        # The real port is for root.
        real = smtplib.SMTP_SSL
        monkeypatch.setattr(smtplib, "SMTP_SSL", lambda host, port, **more: real(host, box.port, **more))
        message = EmailMessage()
        message["From"], message["To"] = "a@b.example", "c@d.example"
        module.deliver(host="localhost", port=465, username="me", password="the-password", message=message, verify=False)
        assert box.logins == [("me", "the-password")]
        assert len(box.messages) == 1


def start(module: ModuleType, double: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Runs a module as Skyvern does, which finds the double in the place of a module of Skyvern's; with which codes it ended."""
    parts = double.__name__.split(".")
    for count in range(1, len(parts)):
        monkeypatch.setitem(sys.modules, ".".join(parts[:count]), ModuleType(".".join(parts[:count])))
    monkeypatch.setitem(sys.modules, double.__name__, double)
    vars(sys.modules[".".join(parts[:-1])])[parts[-1]] = double
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    module.configure_app(None)
    return ended


@pytest.mark.parametrize(("change", "codes"), [(None, []), ("gone", [1]), ("other parameters", [1])])
def test_another_skyvern_that_sends_mails_does_not_start(
    skyvern: ModuleType,
    box: MailServer,
    module: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: str | None,
    codes: list[int],
) -> None:
    if change == "gone":
        del vars(skyvern)["_send_blocking"]
    elif change:
        vars(skyvern)["send"] = lambda message: None
    monkeypatch.setenv("SMTP_SENDER", "approvals@example.com")
    monkeypatch.setenv("SMTP_VERIFY", "false")
    assert start(module, skyvern, monkeypatch) == codes
    line = capsys.readouterr().err
    if codes:
        assert re.match(r"skyvern-start: approval mail: FAILED after \d\.\d s: RuntimeError: this Skyvern's", line)
    else:
        send(skyvern)
        assert box.messages[0]["From"] == "approvals@example.com"


def test_a_human_interaction_asks_for_the_function_that_is_replaced() -> None:
    """By the module's name, and not by one that it took before."""
    callers = [path for path, text in skyvern_wheel.modules() if "email.send(" in text]
    assert callers == ["skyvern/forge/sdk/workflow/models/block.py"]
    assert "from skyvern.forge.sdk.api import email" in skyvern_wheel.text(callers[0])


# --- The limit of a run's time ------------------------------------------------------------------------------------------------


@pytest.fixture
def limits() -> ModuleType:
    name = "get_effective_workflow_run_max_elapsed_time_minutes"
    return functions(LIMITS, name, **{MINUTES: 240, "WORKFLOW_RUN_MAX_ELAPSED_TIME_MINUTES": 480})


def test_a_run_without_a_limit_has_that_of_the_stack(limits: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MINUTES, "7")
    assert start(load("run_time_limit.py", monkeypatch), limits, monkeypatch) == []
    effective = limits.get_effective_workflow_run_max_elapsed_time_minutes
    assert [effective(given) for given in (None, 3, 300, 999)] == [7, 3, 300, 480]


@pytest.mark.parametrize("change", ["gone", "elsewhere"])
def test_another_skyvern_with_another_limit_does_not_start(
    limits: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    if change == "gone":
        del vars(limits)[MINUTES]
    else:
        vars(limits)["get_effective_workflow_run_max_elapsed_time_minutes"] = lambda given: given or 240
    monkeypatch.setenv(MINUTES, "7")
    assert start(load("run_time_limit.py", monkeypatch), limits, monkeypatch) == [1]
    line = capsys.readouterr().err
    assert re.match(r"skyvern-start: run time limit: FAILED after \d\.\d s: RuntimeError: this Skyvern", line)


def test_the_service_asks_for_the_limit_by_the_function() -> None:
    reading = {path for path, text in skyvern_wheel.modules() if MINUTES in text}
    # The second one writes it into the description of a field.
    assert reading == {LIMITS, "skyvern/schemas/runs.py"}
