"""As cases.py, for automations: Skyvern's workflows, schedules and credentials, and the server that runs them."""

from typing import Any

from policy.rules.skyvern import CREDENTIAL, PROVIDER, SCHEDULE, WORKFLOW
from tests.policy.cases import Cases, container, each
from tests.policy.pack import Sent, secret

SERVER = ["BROWSER_TIMEZONE=Asia/Seoul", "CODE_BLOCK_MODE=disabled"]
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJvXzEyMyJ9.c2lnbmF0dXJl"
BLOCKS = "definition.workflow_definition.blocks"


def workflow(*blocks: dict[str, Any], parameters: list[dict[str, Any]] | None = None, **changed: Any) -> Sent:
    """A workflow that no rule objects to, with these blocks; None takes a key of its document away."""
    numbered = [{"label": f"block_{number}", **block} for number, block in enumerate(blocks)]
    document = {
        "title": "One",
        "max_elapsed_time_minutes": 15,
        "workflow_definition": {"parameters": parameters or [], "blocks": numbered},
    } | changed
    definition = {key: value for key, value in document.items() if value is not None}
    return Sent(WORKFLOW, "one", {"name": "one", "definition": definition})


def code(text: str = "return {}") -> dict[str, Any]:
    return {"block_type": "code", "code": text}


def prompt(text: str, block_type: str = "navigation", **more: Any) -> dict[str, Any]:
    return {"block_type": block_type, "navigation_goal": text, "max_steps_per_run": 10} | more


def request(url: str, **more: Any) -> dict[str, Any]:
    return {"block_type": "http_request", "url": url, **more}


def loop(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"block_type": "for_loop", "loop_blocks": list(blocks)}


def parameter(key: str, default: Any, kind: str = "string") -> dict[str, Any]:
    return {"parameter_type": "workflow", "key": key, "workflow_parameter_type": kind, "default_value": default}


def schedule(**changed: Any) -> Sent:
    inputs = {"name": "daily", "workflow_id": "wpid_1", "cron": "0 9 * * *", "timezone": "Asia/Seoul", "parameters": {}} | changed
    return Sent(SCHEDULE, "daily", {key: value for key, value in inputs.items() if value is not None})


def credential(**changed: Any) -> Sent:
    inputs = {
        "name": "naver",
        "type": "password",
        "tested_url": "https://nid.naver.com",
        "values": secret({"username": "shop", "password": "kZ8mQ2vT5xW1"}),
    } | changed
    return Sent(CREDENTIAL, "naver", {key: value for key, value in inputs.items() if value is not None})


def provider(**changed: Any) -> Sent:
    return Sent(PROVIDER, "skyvern", {"url": "http://127.0.0.1:8080", "apiKey": secret(JWT)} | changed)


def server(*variables: str) -> Sent:
    return container("server", envs=list(variables))


CASES = {
    "skyvern-provider-key-encrypted": each(
        [provider()], [(provider(apiKey=JWT), "apiKey"), (provider(apiKey="anything"), "apiKey")]
    ),
    "skyvern-provider-url-private": each(
        [provider(), provider(url="https://api.example.com"), provider(url="http://localhost:8000")],
        [(provider(url="http://api.example.com"), "url"), (provider(url="http://192.168.1.20:8000"), "url")],
    ),
    "skyvern-credential-values-encrypted": each(
        [credential()],
        [
            (credential(values={"username": "shop", "password": "kZ8mQ2vT5xW1"}), "values"),
            (credential(values={"x": "y"}), "values"),
        ],
    ),
    "skyvern-credential-site-bound": each(
        [credential(), credential(type="secret", tested_url=None)],
        [
            (credential(tested_url=None), "tested_url"),
            (credential(type="credit_card", tested_url=None), "tested_url"),
            (credential(tested_url="http://nid.naver.com"), "tested_url"),
            (credential(tested_url="nid.naver.com"), "tested_url"),
        ],
    ),
    "skyvern-workflow-secrets-absent": each(
        [
            workflow(
                prompt("Password: {{ naver.password }}"),
                prompt("Type the password: it is in the credential.", parameter_keys=["naver"]),
                code("await page.fill('#pw', naver.password)\nlogin = 'input[type=\"password\"]'"),
                request("https://example.com", headers={"Authorization": "Bearer {{ partner.secret_value }}"}),
                {"block_type": "send_email", "smtp_password_secret_parameter_key": "mail_password", "custom_smtp_password": ""},
                parameters=[parameter("blog_id", "shop"), {"parameter_type": "aws_secret", "key": "x", "aws_key": "name_of_it"}],
                cache_key="default",
            )
        ],
        [
            (workflow(prompt("Password: hunter2 and go on")), f"{BLOCKS}[0].navigation_goal"),
            (workflow(prompt("비밀번호: hunter2!")), f"{BLOCKS}[0].navigation_goal"),
            (workflow(code("password = 'correct horse'")), f"{BLOCKS}[0].code"),
            (workflow(loop(code(f"key = '{JWT}'"))), f"{BLOCKS}[0].loop_blocks[0].code"),
            (workflow(request("https://example.com", headers={"X-Api-Key": "0815"})), f"{BLOCKS}[0].headers.X-Api-Key"),
            (workflow(request("https://user:hunter2@example.com")), f"{BLOCKS}[0].url"),
            (workflow({"block_type": "send_email", "custom_smtp_password": "hunter2"}), f"{BLOCKS}[0].custom_smtp_password"),
            (workflow({"block_type": "file_upload", "aws_secret_access_key": "x"}), f"{BLOCKS}[0].aws_secret_access_key"),
            (
                workflow(parameters=[parameter("naver_password", "hunter2")]),
                "definition.workflow_definition.parameters[0].default_value",
            ),
            (workflow(extra_http_headers={"Cookie": "NID_SES=1"}), "definition.extra_http_headers.Cookie"),
        ],
    ),
    "skyvern-schedule-secrets-absent": each(
        [schedule(), schedule(parameters={"blog_id": "shop", "publish": False})],
        [
            (schedule(parameters={"password": "hunter2"}), "parameters.password"),
            (schedule(parameters={"note": f"use {JWT}"}), "parameters.note"),
        ],
    ),
    "skyvern-workflow-addresses-https": each(
        [
            workflow(),
            workflow({"block_type": "goto_url", "url": "http://example.com"}, request("{{ webhook }}")),
            workflow(request("https://example.com"), webhook_callback_url="https://hooks.example.com"),
        ],
        [
            (workflow(webhook_callback_url="http://hooks.example.com"), "definition.webhook_callback_url"),
            (workflow(totp_verification_url="HTTP://codes.example.com"), "definition.totp_verification_url"),
            (workflow(code(), request("http://example.com/in")), f"{BLOCKS}[1].url"),
            (workflow(prompt("Go.", totp_verification_url="http://x.example")), f"{BLOCKS}[0].totp_verification_url"),
        ],
    ),
    "skyvern-workflow-publishing-off": each(
        [
            workflow(parameters=[parameter("publish", False, "boolean"), parameter("posts", "true")]),
            workflow(parameters=[{"parameter_type": "workflow", "key": "publish", "workflow_parameter_type": "boolean"}]),
        ],
        [
            (
                workflow(parameters=[parameter("publish", True, "boolean")]),
                "definition.workflow_definition.parameters[0].default_value",
            ),
            (
                workflow(parameters=[parameter("x", 1), parameter("Send_Now", "true")]),
                "definition.workflow_definition.parameters[1].default_value",
            ),
        ],
    ),
    "stack-workflow-time-bounded": Cases(
        passing=[
            [workflow()],
            [workflow(max_elapsed_time_minutes=240)],
            [workflow(max_elapsed_time_minutes=None), server("WORKFLOW_RUN_DEFAULT_MAX_ELAPSED_TIME_MINUTES=60")],
        ],
        failing=[
            ([workflow(max_elapsed_time_minutes=None), server(*SERVER)], "one: definition.max_elapsed_time_minutes"),
            (
                [workflow(max_elapsed_time_minutes=1440), server("WORKFLOW_RUN_DEFAULT_MAX_ELAPSED_TIME_MINUTES=60")],
                "one: definition.max_elapsed_time_minutes",
            ),
        ],
    ),
    "stack-workflow-steps-bounded": Cases(
        passing=[
            [workflow(prompt("Go."), code(), {"block_type": "task_v2", "prompt": "Go.", "max_steps": 25})],
            [workflow(prompt("Go.", max_steps_per_run=None)), server("MAX_STEPS_PER_RUN=50")],
        ],
        failing=[
            ([workflow(prompt("Go.", max_steps_per_run=None))], f"one: {BLOCKS}[0].max_steps_per_run"),
            (
                [workflow(code(), prompt("Go.", "login", max_steps_per_run=500)), server("MAX_STEPS_PER_RUN=50")],
                f"one: {BLOCKS}[1].max_steps_per_run",
            ),
            ([workflow(loop({"block_type": "task_v2", "prompt": "Go."}))], f"one: {BLOCKS}[0].loop_blocks[0].max_steps"),
        ],
    ),
    "stack-workflow-code-allowed": Cases(
        passing=[
            [workflow(code())],
            [workflow(code()), server("CODE_BLOCK_MODE=enabled")],
            [workflow(prompt("Go.")), server(*SERVER)],
        ],
        failing=[
            ([workflow(code()), server(*SERVER)], f"one: {BLOCKS}[0].block_type"),
            ([workflow(loop(prompt("Go."), code())), server(*SERVER)], f"one: {BLOCKS}[0].loop_blocks[1].block_type"),
            ([workflow(run_with="code"), server(*SERVER)], "one: definition.run_with"),
        ],
    ),
    "stack-schedule-zone-same": Cases(
        passing=[[schedule(timezone="UTC")], [schedule(), server(*SERVER)]],
        failing=[
            ([schedule(timezone="UTC"), server(*SERVER)], "daily: timezone"),
            ([schedule(timezone=None), server(*SERVER)], "daily: timezone"),
        ],
    ),
}
