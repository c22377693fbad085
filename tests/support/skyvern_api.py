"""Skyvern's API 1.0.56 as far as the provider uses it, in memory, and as a server on loopback.

What it does where one would not expect it: each update makes a version, also an identical one; a creation with a known
Idempotency-Key answers with version 1, deleted or not; a deleted workflow is revived by an update; a delete takes the schedules
along; names are not unique; secrets are never given back; parameters of a schedule without a value are dropped; a credential
never forgets its site. tests/host compares it with the real one.
"""

import base64
import hashlib
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from lab import loopback

ORGANIZATION = "o_112233445566778899"
Json = dict[str, Any]


def api_key(jti: str = "a") -> str:
    """A key of the organisation, of the form of Skyvern's."""
    parts = [{"alg": "HS256", "typ": "JWT"}, {"sub": ORGANIZATION, "jti": jti}]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, "c2lnbmF0dXJl"])


def _page(elements: list[Json], query: Json) -> list[Json]:
    start, size = (int(query["page"]) - 1) * int(query["page_size"]), int(query["page_size"])
    return elements[start : start + size]


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, detail: Any = None) -> None:
        super().__init__(status, detail)
        self.status, self.detail = status, detail


class Skyvern:
    """The state of a server. calls: method and path of each request that changes something. key: the one that is accepted.

    faults: method and path -> how often the request is carried out and answered with 500, as if the answer was lost.
    requests: method and path of each request but the heartbeat. before_answer: is called when it is carried out.
    """

    def __init__(self) -> None:
        self.key = api_key()
        self.versions: dict[str, list[Json]] = {}
        self.deleted: set[str] = set()
        self.tags: dict[str, dict[str, str]] = {}
        self.schedules: dict[str, Json] = {}
        self.credentials: dict[str, Json] = {}
        self.folders: dict[str, Json] = {}
        self.profiles: dict[str, Json] = {}
        self.runs: dict[str, Json] = {}
        self.calls: list[str] = []
        self.faults: dict[str, int] = {}
        self.requests: list[str] = []
        self.before_answer: Callable[[], None] = lambda: None
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    # --- What a person does in the UI ---

    def edit(self, identifier: str, title: str) -> None:
        """A new version by hand."""
        self.versions[identifier].append(
            {**self.versions[identifier][-1], "title": title, "version": self.version(identifier) + 1}
        )

    def version(self, identifier: str) -> int:
        """The newest."""
        number: int = self.versions[identifier][-1]["version"]
        return number

    # --- Requests ---

    def answer(self, method: str, target: str, headers: Json, body: Any) -> tuple[int, Any]:
        """Status and JSON of a request."""
        split = urlsplit(target)
        query = dict(parse_qsl(split.query))
        if split.path == "/api/v1/heartbeat":
            return 200, "Server is running."
        if headers.get("x-api-key") != self.key:
            return 403, {"detail": "Could not validate credentials"}
        with self._lock:
            self.requests.append(f"{method} {split.path}")
            if method != "GET":
                self.calls.append(f"{method} {split.path}")
            try:
                answer = self._route(method, split.path.strip("/").split("/"), query, headers, body)
            except Refused as refused:
                return refused.status, {"detail": refused.detail}
            finally:
                self.before_answer()
            fault = f"{method} {split.path}"
            if self.faults.get(fault, 0) > 0:
                self.faults[fault] -= 1
                return 500, {"detail": "lost"}
            return 200, answer

    def _route(self, method: str, parts: list[str], query: Json, headers: Json, body: Any) -> Any:
        match method, parts:
            case "GET", ["v1", "workflows"]:
                there = [identifier for identifier in self.versions if identifier not in self.deleted]
                tagged = [identifier for identifier in there if self._has_tag(identifier, query.get("tags", ""))]
                return _page([self._workflow(identifier) for identifier in tagged], query)
            case "POST", ["v1", "workflows"]:
                return self._create(body["json_definition"], headers.get("idempotency-key"))
            case "GET", ["v1", "workflows", identifier]:
                self._need(identifier)
                return self._version(identifier, int(query.get("version", 0)))
            case "POST", ["v1", "workflows", identifier]:
                return self._update(identifier, body["json_definition"])
            case "PUT", ["api", "v1", "workflows", identifier]:
                if int(query["expected_version"]) != self.version(identifier):
                    raise Refused(409, "Concurrent update detected")
                return self._update(identifier, body)
            case "POST", ["v1", "workflows", identifier, "delete"]:
                self._need(identifier)
                self.deleted.add(identifier)
                self.schedules = {k: v for k, v in self.schedules.items() if v["workflow_permanent_id"] != identifier}
                return {}
            case "PUT", ["v1", "workflows", identifier, "folder"]:
                self._need(identifier)
                self.versions[identifier][-1]["folder_id"] = body["folder_id"]
                return self._workflow(identifier)
            case (("GET" | "POST"), ["v1", "workflows", identifier, "tags"]):
                self._need(identifier)
                tags = self.tags.setdefault(identifier, {})
                for removed in (body or {}).get("tags_to_delete", []):
                    tags.pop(removed["key"], None)
                tags.update({tag["key"]: tag["value"] for tag in (body or {}).get("tags", [])})
                return {"tags": [{"key": key, "value": value} for key, value in tags.items()]}
            case _, ["v1", "workflows", identifier, "schedules", *rest]:
                return self._schedule(method, identifier, rest, body)
            case "GET", ["v1", "schedules"]:
                titled = [
                    {**s, "workflow_title": self._workflow(s["workflow_permanent_id"])["title"]} for s in self.schedules.values()
                ]
                found = [s for s in titled if query.get("search", "") in (s.get("name") or "")]
                return {"schedules": _page(found, query), "total_count": len(found)}
            case _, ["v1", "credentials", *rest]:
                return self._credential(method, rest, query, body)
            case _, ["v1", "folders", *rest]:
                return self._folder(method, rest, query, body)
            case "GET", ["v1", "browser_profiles"]:
                return _page(list(self.profiles.values()), query)
            case "GET", ["v1", "browser_profiles", identifier]:
                return self._found(self.profiles, identifier)
            case "POST", ["v1", "run", "workflows"]:
                self._need(body["workflow_id"])
                run = {"run_id": f"wr_{next(self._numbers)}", "status": "completed", "parameters": body["parameters"]}
                self.runs[run["run_id"]] = run
                return {**run, "status": "queued"}
            case "GET", ["v1", "runs", identifier]:
                return self._found(self.runs, identifier)
            case "GET", ["v1", "runs", identifier, "timeline"]:
                blocks = self.runs[identifier].get("blocks", [])
                return [{"type": "block", "block": block, "children": []} for block in reversed(blocks)]
        raise Refused(404)

    def _has_tag(self, identifier: str, tag: str) -> bool:
        key, _, value = tag.partition(":")
        return not tag or self.tags.get(identifier, {}).get(key) == value

    def _need(self, identifier: str) -> None:
        if identifier not in self.versions or identifier in self.deleted:
            raise Refused(404, f"Workflow {identifier} not found")

    @staticmethod
    def _found(items: dict[str, Json], identifier: str) -> Json:
        if identifier not in items:
            raise Refused(404)
        return items[identifier]

    def _workflow(self, identifier: str, version: int = -1) -> Json:
        shown = self.versions[identifier][version]
        return {**shown, "deleted_at": "2026-01-01T00:00:00" if identifier in self.deleted else None}

    def _version(self, identifier: str, number: int) -> Json:
        """One by its number, 0 for the newest; a delete deletes each that there is."""
        if number == 0:
            return self._workflow(identifier)
        for known in self.versions[identifier]:
            if known["version"] == number and not known.get("deleted"):
                return known
        raise Refused(404, f"Workflow {identifier} not found")

    def _create(self, definition: Json, key: str | None) -> Json:
        text = f"create_workflow\0{ORGANIZATION}\0{key}"
        identifier = f"wpid_{hashlib.sha256(text.encode()).hexdigest() if key else next(self._numbers)}"
        if identifier in self.versions:
            return self._workflow(identifier, 0)
        if "title" not in definition:
            raise Refused(422, [{"loc": ["body", "title"], "msg": "Field required", "input": "a secret in the input"}])
        self.versions[identifier] = [{**definition, "workflow_permanent_id": identifier, "version": 1, "folder_id": None}]
        return self._workflow(identifier)

    def _update(self, identifier: str, definition: Json) -> Json:
        before = self.versions[identifier][-1]
        if identifier in self.deleted:
            for known in self.versions[identifier]:
                known["deleted"] = True
        kept = {"workflow_permanent_id": identifier, "version": before["version"] + 1, "folder_id": before["folder_id"]}
        self.versions[identifier].append({"webhook_callback_url": before.get("webhook_callback_url"), **definition, **kept})
        self.deleted.discard(identifier)
        return self._workflow(identifier)

    def _schedule(self, method: str, workflow: str, rest: list[str], body: Any) -> Json:
        match method, rest:
            case "GET", []:
                return {"schedules": [s for s in self.schedules.values() if s["workflow_permanent_id"] == workflow]}
            case (("POST" | "PUT"), _) if None in (body.get("parameters") or {}).values():
                given = {key: value for key, value in body["parameters"].items() if value is not None}
                return self._schedule(method, workflow, rest, {**body, "parameters": given or None})
            case "POST", []:
                self._need(workflow)
                made = {"workflow_schedule_id": f"wfs_{next(self._numbers)}", "workflow_permanent_id": workflow}
                self.schedules[made["workflow_schedule_id"]] = {**made, **body, "modified_at": next(self._numbers)}
                return {"schedule": self.schedules[made["workflow_schedule_id"]], "next_runs": []}
            case "PUT", [identifier]:
                self._found(self.schedules, identifier).update({**body, "modified_at": next(self._numbers)})
                return {"schedule": self.schedules[identifier], "next_runs": []}
            case "DELETE", [identifier]:
                self._found(self.schedules, identifier)
                del self.schedules[identifier]
                return {"ok": True}
        raise Refused(405)

    def _credential(self, method: str, rest: list[str], query: Json, body: Any) -> Any:
        match method, rest:
            case "GET", []:
                found = [c for c in self.credentials.values() if query.get("search", "") in c["name"]]
                return _page([{k: v for k, v in c.items() if k != "credential"} for c in found], query)
            case "GET", [identifier]:
                return {k: v for k, v in self._found(self.credentials, identifier).items() if k != "credential"}
            case "POST", []:
                if body["credential"].get("password") == "refused":
                    raise Refused(400, "the password refused is not accepted")
                identifier = f"cred_{next(self._numbers)}"
                self.credentials[identifier] = {"credential_id": identifier, **body}
                return {"credential_id": identifier, "name": body["name"]}
            case "POST", [identifier, "update"]:
                kept = (
                    {} if body.get("tested_url") else {"tested_url": self._found(self.credentials, identifier).get("tested_url")}
                )
                self._found(self.credentials, identifier).update({**body, **kept})
                return {"credential_id": identifier}
            case "POST", [identifier, "delete"]:
                self._found(self.credentials, identifier)
                del self.credentials[identifier]
                return {}
        raise Refused(405)

    def _folder(self, method: str, rest: list[str], query: Json, body: Any) -> Any:
        match method, rest:
            case "GET", []:
                return _page(list(self.folders.values()), query)
            case "POST", []:
                identifier = f"fld_{next(self._numbers)}"
                self.folders[identifier] = {"folder_id": identifier, **body}
                return self.folders[identifier]
            case "GET", [identifier]:
                return self._found(self.folders, identifier)
            case "PUT", [identifier]:
                self._found(self.folders, identifier).update(body)
                return self.folders[identifier]
            case "DELETE", [identifier]:
                self._found(self.folders, identifier)
                del self.folders[identifier]
                return {}
        raise Refused(405)

    # --- In front of it ---

    def transport(self) -> httpx.MockTransport:
        """For a client in this process."""

        def handle(request: httpx.Request) -> httpx.Response:
            body = json.loads(request.content) if request.content else None
            status, answer = self.answer(request.method, request.url.raw_path.decode(), dict(request.headers), body)
            return httpx.Response(status, json=answer)

        return httpx.MockTransport(handle)

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Its URL on loopback."""
        skyvern = self

        class Handler(loopback.Handler):
            def _do(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                headers = {key.lower(): value for key, value in self.headers.items()}
                status, answer = skyvern.answer(self.command, self.path, headers, body)
                content = json.dumps(answer).encode()
                # Who asked may be gone.
                with suppress(ConnectionError):
                    self.send_response(status)
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_DELETE = _do

        with loopback.serving(Handler) as port:
            yield f"http://127.0.0.1:{port}"
