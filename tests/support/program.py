"""Runs the program without an engine and records what it SENT: inputs with a secret mark per element, parent, protection."""

import asyncio
import gc
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import pulumi
from google.protobuf import json_format
from pulumi.runtime import mocks
from pulumi.runtime import resource as runtime_resource
from pulumi.runtime import settings as runtime_settings
from pulumi.runtime.proto import source_pb2
from pulumi.runtime.stack import run_in_stack

from components.platform import SkyvernPlatform
from components.settings import Settings
from lab.standins.providers.wire import Secret as Secret
from lab.standins.providers.wire import marked
from lab.standins.providers.wire import plain as plain


@dataclass(frozen=True)
class Registration:
    """One RegisterResource request. ``inputs``: camelCase, a secret is ``Secret(value)``."""

    type: str
    name: str
    urn: str
    parent: str
    protect: bool
    provider: str
    dependencies: tuple[str, ...]
    inputs: dict[str, Any]
    import_id: str = ""
    ignore_changes: tuple[str, ...] = ()
    replace_on_changes: tuple[str, ...] = ()
    delete_before_replace: bool = False
    retain_on_delete: bool = False
    delete_timeout: str = ""


@dataclass(frozen=True)
class Program:
    """Everything a run of the program registered and exported."""

    registrations: list[Registration]
    outputs: dict[str, Any]

    def of_type(self, type_: str) -> list[Registration]:
        """All registrations of a type, in the order of their names."""
        return sorted((one for one in self.registrations if one.type == type_), key=lambda one: one.name)

    def container(self, part: str) -> Registration:
        """The container whose network alias is ``part``."""
        return next(one for one in self.of_type("docker:index/container:Container") if one.inputs["hostname"] == part)

    def environment(self, part: str) -> dict[str, Any]:
        """Environment of a container; a secret element is ``Secret(value)``."""
        found = {}
        for element in self.container(part).inputs.get("envs", []):
            key, _, value = plain(element).partition("=")
            found[key] = Secret(value) if isinstance(element, Secret) else value
        return found


class _Provider(mocks.Mocks):
    """Answers as the providers do: inputs echoed, random values made from the resource's name and keepers."""

    def __init__(self, zone: dict[str, Any], site: dict[str, Any]) -> None:
        self.zone, self.site = zone, site

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        if args.token == "vercel:index/getProjectDirectory:getProjectDirectory":
            if failure := self.site.get("failure"):
                return {}, [("", failure)]
            return {**args.args, "id": args.args["path"], "files": self.site["files"]}, []
        if args.token == "vercel:index/getDomainConfig:getDomainConfig":
            return {**args.args, "recommendedCname": self.site["cname"]}, []
        if args.token == "cloudflare:index/getRulesets:getRulesets":
            if failure := self.zone.get("rulesets_failure"):
                return {}, [("", failure)]
            # Of every stack among cells, and of no other (components/edge/tunnel.py).
            rulesets = self.zone.get("rulesets", [])
            return {**args.args, "results": rulesets, "rulesets": rulesets}, []
        if args.token != "cloudflare:index/getZone:getZone":
            raise AssertionError(f"the program called {args.token}: a plan must not look anything else up")
        if failure := self.zone.get("failure"):
            return {}, [("", failure)]
        return {"name": args.args["filter"]["name"], **self.zone}, []

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        outputs = dict(args.inputs)
        seed = f"{args.name}{(args.inputs.get('keepers') or {}).get('epoch', '')}"
        if args.typ == "random:index/randomPassword:RandomPassword":
            digits = "".join(str(ord(letter) % 10) for letter in seed) * 9
            letters = "".join(letter for letter in seed if letter.isalnum()) * 9
            text = letters if args.inputs.get("upper", True) else digits
            result = text[: int(args.inputs["length"])]
            outputs |= {"result": pulumi.Output.secret(result), "bcryptHash": pulumi.Output.secret(f"$2a$10${result[:53]}")}
        if args.typ == "cloudflare:index/zeroTrustAccessApplication:ZeroTrustAccessApplication":
            outputs["aud"] = f"aud-of-{args.name}"
        if args.typ == "cloudflare:index/accountToken:AccountToken":
            outputs["value"] = f"value-of-{args.name}"
        if args.typ == "vercel:index/projectDomain:ProjectDomain":
            outputs["verifications"] = []
        if args.typ == "vercel:index/deployment:Deployment":
            outputs["url"] = f"url-of-{args.name}"
        return f"id-of-{args.name}", outputs


class _Monitor(mocks.MockMonitor):
    def __init__(self, zone: dict[str, Any], site: dict[str, Any]) -> None:
        super().__init__(_Provider(zone, site))
        self.registrations: list[Registration] = []
        self.outputs: dict[str, Any] = {}

    def RegisterResource(self, request: Any) -> Any:
        response = super().RegisterResource(request)  # type: ignore[no-untyped-call]  # untyped in the SDK
        self.registrations.append(
            Registration(
                type=request.type,
                name=request.name,
                urn=response.urn,
                parent=request.parent,
                protect=request.protect,
                provider=request.provider,
                dependencies=tuple(request.dependencies),
                import_id=request.importId,
                ignore_changes=tuple(request.ignoreChanges),
                replace_on_changes=tuple(request.replaceOnChanges),
                delete_before_replace=request.deleteBeforeReplace,
                retain_on_delete=request.retainOnDelete,
                delete_timeout=request.customTimeouts.delete,
                inputs=marked(json_format.MessageToDict(request.object)),
            )
        )
        return response

    def RegisterResourceOutputs(self, request: Any) -> Any:
        if "pulumi:pulumi:Stack" in request.urn:
            self.outputs.update(marked(json_format.MessageToDict(request.outputs)))
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]  # likewise


# What Cloudflare answers about a zone that is in order.
ZONE: dict[str, Any] = {"zoneId": "0" * 32, "account": {"id": "a" * 32, "name": "acct"}, "status": "active", "nameServers": []}
# The least that a stack file has about Cloudflare, and about Vercel.
CLOUDFLARE: dict[str, Any] = {"provider": "cloudflare", "domain": "example.com", "api_token": "t" * 40}
NGROK: dict[str, Any] = {"provider": "ngrok", "domain": "your-name.ngrok.app", "authtoken": "t" * 40}
VERCEL: dict[str, Any] = {"provider": "vercel", "api_token": "v" * 24, "team": "acme", "plan": "pro"}
# A mail server.
SMTP: dict[str, Any] = {"host": "smtp.example.com", "username": "approvals@example.com", "password": "m" * 20}
# What Vercel and its provider answer about an account and a site that are in order.
SITE: dict[str, Any] = {"files": {"site/package.json": "2~a", "site/build.mjs": "3~b"}, "cname": "a.vercel-dns-017.com."}


def run(
    settings: Settings, *, stack: str = "dev", zone: dict[str, Any] | None = None, site: dict[str, Any] | None = None
) -> Program:
    """Builds the platform from settings and returns what was registered.

    zone: what Cloudflare says, site: what Vercel says; ``failure`` for an error.
    """
    monitor = _Monitor(ZONE | (zone or {}), SITE | (site or {}))
    return run_program(lambda: SkyvernPlatform("skyvern", settings, stack=stack).outputs, stack=stack, monitor=monitor)


def run_program(
    build: Callable[[], Mapping[str, Any]], *, project: str = "skyvern", stack: str, monitor: _Monitor | None = None
) -> Program:
    """Runs a program that builds something and exports what ``build`` returns; what was registered."""
    monitor = monitor or _Monitor(ZONE, SITE)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    mocks.set_mocks(monitor.mocks, project=project, stack=stack, preview=False, monitor=monitor)

    def program() -> None:
        for name, value in build().items():
            pulumi.export(name, value)

    # set_mocks leaves a root stack of its own, which would stand in the way of the program's.
    runtime_settings.ROOT.set(None)
    try:
        # Where in a program a resource stands nobody asks here, and finding it out is a quarter of a run.
        with patch.object(runtime_resource, "_get_stack_trace", source_pb2.StackTrace):
            loop.run_until_complete(run_in_stack(program))
    finally:
        # Each holds three files open, and thousands of programs run in one session of tests.
        loop.close()
    _spare_the_collector()
    return Program(monitor.registrations, monitor.outputs)


_spared: set[str] = set()


def _spare_the_collector() -> None:
    """Takes the SDKs out of garbage collection: they are a million objects that live for ever, and half of a run's time."""
    loaded = {"pulumi_cloudflare", "pulumi_docker", "pulumiverse_vercel"} & sys.modules.keys()
    if loaded - _spared:
        gc.collect()
        gc.freeze()
        _spared.update(loaded)
