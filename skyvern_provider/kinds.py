"""What each resource asks of Skyvern's API (1.0.56), without a word of Pulumi's protocol.

The server has no identity for most of what it holds: titles, names of schedules and names of credentials are not unique. So a
workflow gets an id that is computed from its name (the Idempotency-Key of its creation), and schedules, credentials and folders a
reserved name. What an interrupted update made is found again by these and not made twice.

A workflow is never compared with what the server gives back, which has generated ids in it: what was applied is recorded in the
tag ``spec`` as ``VERSION-HASH``. A version beyond it was made in the UI.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from skyvern_provider.api import Api, ApiError, Json

OnUiEdit = Literal["keep", "overwrite", "adopt"]
POLICIES: tuple[OnUiEdit, ...] = ("keep", "overwrite", "adopt")

MANAGED_BY = "pulumi"
# In names that a person sees in the UI: what is behind it belongs to a program.
RESERVED = f"{MANAGED_BY}/"
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,60}[a-z0-9])?")
CREDENTIAL_TYPES = ("password", "credit_card", "secret")
# Omitted in an update they keep the stored value, so that a key removed from a file would stay (1.0.56, workflow service).
_KEPT_UNLESS_NULL = (
    "browser_type",
    "cdp_connect_headers",
    "extra_http_headers",
    "mask_secrets",
    "max_elapsed_time_minutes",
    "proxy_location",
    "totp_identifier",
    "totp_verification_url",
    "webhook_callback_url",
)


class Lists:
    """Workflows and schedules that a program made, as a refresh reads them: a request for a hundred of them, not one for each.

    Until the first write, after which each is asked for by itself, as is one that is in no list.
    """

    def __init__(self, api: Api) -> None:
        self._api, self._lock, self._written = api, threading.Lock(), False
        self._elements: dict[str, dict[str, Json]] = {}

    def workflow(self, identifier: str) -> Json | None:
        """The newest version."""
        return self._of("/v1/workflows", None, "workflow_permanent_id", tags=f"managed_by:{MANAGED_BY}").get(identifier)

    def schedule(self, identifier: str) -> Json | None:
        """By its own id, without that of its workflow."""
        return self._of("/v1/schedules", "schedules", "workflow_schedule_id", search=RESERVED).get(identifier)

    def forget(self) -> None:
        """Something is about to be written."""
        self._written = True

    def _of(self, path: str, within: str | None, key: str, **params: str) -> dict[str, Json]:
        with self._lock:
            if self._written:
                return {}
            if path not in self._elements:
                self._elements[path] = {element[key]: element for element in self._api.pages(path, within, **params)}
            return self._elements[path]


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a call needs besides its resource. on_ui_edit: what happens to an edit that a person made in the UI.

    lists: None to ask for each resource by itself.
    """

    api: Api
    on_ui_edit: OnUiEdit = "keep"
    lists: Lists | None = None


class Kind(Protocol):
    """A type of resource. Inputs and outputs are JSON; outputs repeat the inputs.

    replaces: inputs whose change makes another resource.
    """

    replaces: frozenset[str]

    def check(self, inputs: Json) -> list[tuple[str, str]]:
        """(input, what is wrong and what to write) for each mistake. Values may still be unknown."""

    def drift(self, state: Json, on_ui_edit: OnUiEdit) -> list[str]:
        """The outputs by which the server differs and that an update is to put right."""

    def create(self, call: Call, inputs: Json) -> tuple[str, Json]:
        """Id and outputs."""

    def read(self, call: Call, identifier: str, state: Json) -> tuple[Json, Json] | None:
        """Inputs and outputs, None if it is gone. state: empty for an import."""

    def update(self, call: Call, identifier: str, state: Json, inputs: Json) -> Json:
        """Outputs."""

    def delete(self, call: Call, identifier: str) -> None:
        """Removes it; one that is gone already is no error."""


def computed_workflow_id(api_key: str, key: str) -> str:
    """The id of the workflow that was, or will be, created with an Idempotency-Key (1.0.56, routes/agent_protocol.py).

    The organisation is the ``sub`` of its API key, a JWT. ApiError if it is not one.
    """
    try:
        payload = api_key.split(".")[1]
        organization = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"]
    except (IndexError, ValueError, KeyError, TypeError):
        raise ApiError("the API key is not one of Skyvern's, which are JSON web tokens; copy the whole key") from None
    return "wpid_" + hashlib.sha256(f"create_workflow\0{organization}\0{key}".encode()).hexdigest()


def digest(document: Any) -> str:
    """32 hex digits over a JSON document, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(document, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:32]


def _name_problem(inputs: Json) -> list[tuple[str, str]]:
    name = inputs.get("name")
    if isinstance(name, str) and NAME.fullmatch(name):
        return []
    return [("name", f"{json.dumps(name)} is not a name; write lower case letters, digits and hyphens, 62 at most")]


def name_of(shown: str | None, identifier: str) -> str:
    """The name of something on the server: the reserved one without its mark, or the id with hyphens for what a person named."""
    name = (shown or "").removeprefix(RESERVED)
    return name if NAME.fullmatch(name) else identifier.replace("_", "-")[:62]


def _missing(inputs: Json, *names: str) -> list[tuple[str, str]]:
    return [(name, "is missing; write it") for name in names if inputs.get(name) is None]


@dataclass(frozen=True)
class Applied:
    """What the tags of a workflow say.

    version, spec: of the last write. pending: ``VERSION-SPEC`` of one that began after it. pulled: the version that a person took
    into the program's file, 0 without one.
    """

    version: int
    spec: str
    pending: str
    pulled: int

    @classmethod
    def read(cls, api: Api, identifier: str) -> "Applied":
        """Of a workflow; all empty for one that no program made."""
        answer = api.ask("GET", f"/v1/workflows/{identifier}/tags") or {}
        tags = {tag["key"]: tag["value"] for tag in answer.get("tags", []) if tag.get("key")}
        version, _, spec = tags.get("spec", "").partition("-")
        return cls(_number(version), spec, tags.get("pending", ""), _number(tags.get("pulled", "")))


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


class Workflow:
    """A workflow.

    Inputs: name, definition (Skyvern's document), folder_id. Outputs: version (recorded), ui_version (the server's), and
    ui_folder_id where a person moved it and that is to be overwritten.
    """

    replaces = frozenset({"name"})

    def check(self, inputs: Json) -> list[tuple[str, str]]:
        """The server validates the document further."""
        problems = _name_problem(inputs)
        if not isinstance(inputs.get("definition"), dict):
            problems.append(("definition", "is not a document; write title and workflow_definition"))
        return problems

    def drift(self, state: Json, on_ui_edit: OnUiEdit) -> list[str]:
        """An edit or a move in the UI, if it is to be overwritten, or an older version, as after a restore of the database."""
        version, seen, overwrite = state.get("version", 0), state.get("ui_version", 0), on_ui_edit == "overwrite"
        moved = ["ui_folder_id"] if overwrite and "ui_folder_id" in state else []
        return [*moved, *(["ui_version"] if seen < version or (seen > version and overwrite) else [])]

    def create(self, call: Call, inputs: Json) -> tuple[str, Json]:
        """Creates it, takes over one of this name whose creation was interrupted, or revives one that was deleted."""
        key = RESERVED + inputs["name"]
        identifier = computed_workflow_id(call.api.api_key, key)
        version = self._write(call, identifier, inputs, recorded=0, key=key)
        return identifier, {**inputs, "version": version, "ui_version": version}

    def read(self, call: Call, identifier: str, state: Json) -> tuple[Json, Json] | None:
        """``definition`` is what was applied, not what the server holds; for an import, what it holds."""
        listed = call.lists.workflow(identifier) if call.lists is not None and state else None
        current = listed or call.api.ask("GET", f"/v1/workflows/{identifier}")
        if current is None:
            return None
        seen = current["version"]
        if not state:
            imported = {"name": name_of(None, identifier), "definition": exported(current)}
            return imported, {**imported, "version": seen, "ui_version": seen}
        version = state.get("version", 0)
        outputs = {**state, "version": max(seen, version) if call.on_ui_edit == "adopt" else version, "ui_version": seen}
        inputs = {name: value for name, value in state.items() if name in {"name", "definition", "folder_id"}}
        outputs.pop("ui_folder_id", None)
        if "folder_id" in inputs and current.get("folder_id") != inputs["folder_id"] and call.on_ui_edit == "overwrite":
            outputs["ui_folder_id"] = current.get("folder_id") or ""
        return inputs, outputs

    def update(self, call: Call, identifier: str, state: Json, inputs: Json) -> Json:
        """A new version, if the document is another one than the applied one or the server's is not the recorded one."""
        version = self._write(call, identifier, inputs, recorded=int(state.get("version", 0)), key=RESERVED + inputs["name"])
        if inputs.get("folder_id") is None and state.get("folder_id") is not None:
            call.api.ask("PUT", f"/v1/workflows/{identifier}/folder", body={"folder_id": None})
        return {**inputs, "version": version, "ui_version": version}

    def delete(self, call: Call, identifier: str) -> None:
        """Also its schedules, on the server (soft)."""
        call.api.ask("POST", f"/v1/workflows/{identifier}/delete")

    def _write(self, call: Call, identifier: str, inputs: Json, *, recorded: int, key: str) -> int:
        """The version of the document on the server, written only if it has to be. recorded: of the state, 0 without one."""
        api, document = call.api, inputs["definition"]
        spec = digest(document)
        current = api.ask("GET", f"/v1/workflows/{identifier}")
        if current is None and identifier != computed_workflow_id(api.api_key, key):
            # One that was imported: a creation would make another workflow beside it.
            raise ApiError(f"workflow {inputs['name']}: is gone; run pulumi refresh, and the next update makes it again")
        if current is None:
            current = api.need("POST", "/v1/workflows", body={"json_definition": document}, headers={"Idempotency-Key": key})
            if current.get("deleted_at"):
                current = api.need("POST", f"/v1/workflows/{identifier}", body={"json_definition": _complete(document)})
        else:
            current = self._overwrite(call, identifier, document, spec, current, recorded)
        version = int(current["version"])
        if inputs.get("folder_id") not in {None, current.get("folder_id")}:
            api.need("PUT", f"/v1/workflows/{identifier}/folder", body={"folder_id": inputs["folder_id"]})
        self._tag(api, identifier, {"managed_by": MANAGED_BY, "spec": f"{version}-{spec}"}, remove=("pending", "pulled"))
        return version

    def _overwrite(self, call: Call, identifier: str, document: Json, spec: str, current: Json, recorded: int) -> Json:
        version = int(current["version"])
        applied = Applied.read(call.api, identifier)
        # The second: a write that was interrupted before its version was recorded.
        if (version == applied.version and spec == applied.spec) or applied.pending == f"{version}-{spec}":
            return current
        # A recorded version beyond the server's is of before a restore, and says nothing about this one.
        known = max(applied.version, applied.pulled, recorded if recorded <= version else 0)
        edited = applied.version and version > known
        if edited and call.on_ui_edit == "keep" and not self._revived(call.api, identifier, applied.version):
            raise ApiError(
                f"{identifier}: edited in the UI: version {version}, recorded {applied.version}; nothing was written. Pull the "
                "edit into the file, or set on_ui_edit to overwrite"
            )
        self._tag(call.api, identifier, {"pending": f"{version + 1}-{spec}"})
        written: Json = call.api.need(
            "PUT", f"/api/v1/workflows/{identifier}", params={"expected_version": version}, body=_complete(document)
        )
        return written

    @staticmethod
    def _revived(api: Api, identifier: str, version: int) -> bool:
        """Whether a version was deleted: what is newer is an interrupted update's, because no person can revive a workflow."""
        return api.ask("GET", f"/v1/workflows/{identifier}", params={"version": version}) is None

    @classmethod
    def note_pulled(cls, api: Api, identifier: str, version: int) -> None:
        """A person has this version in the file, so an update may replace it, also where an edit in the UI is kept."""
        cls._tag(api, identifier, {"pulled": str(version)})

    @staticmethod
    def _tag(api: Api, identifier: str, tags: Mapping[str, str], remove: Sequence[str] = ()) -> None:
        body = {
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
            "tags_to_delete": [{"key": key} for key in remove],
        }
        api.need("POST", f"/v1/workflows/{identifier}/tags", body=body)


def _complete(document: Json) -> Json:
    """With null for each absent key that an update would keep otherwise."""
    return {**dict.fromkeys(_KEPT_UNLESS_NULL), **document}


class Schedule:
    """A schedule. Inputs: workflow_id, name, cron, timezone, parameters, enabled. Output server: these on the server.

    Each write sets ``modified_at``, by which the server forgets a tick that it missed: nothing is written without a difference.
    A schedule that is paused on the server stays so, whatever on_ui_edit says, until ``enabled`` changes in the program: a person
    paused it, or a restore did, after which its runs would be repeated.
    """

    replaces = frozenset({"workflow_id", "name"})

    def check(self, inputs: Json) -> list[tuple[str, str]]:
        """The server knows cron and time zones."""
        return [*_missing(inputs, "workflow_id", "cron", "timezone"), *_name_problem(inputs)]

    def drift(self, state: Json, on_ui_edit: OnUiEdit) -> list[str]:
        """An edit in the UI, if it is to be overwritten."""
        there = state.get("server")
        edited = there is not None and there != _paused_as(there, _schedule_fields(state))
        return ["server"] if edited and on_ui_edit == "overwrite" else []

    def create(self, call: Call, inputs: Json) -> tuple[str, Json]:
        """Creates it, or takes over the one of this name."""
        identifier, outputs = self._write(call, inputs, None, None)
        return identifier, outputs

    def read(self, call: Call, identifier: str, state: Json) -> tuple[Json, Json] | None:
        """For an import, the id is ``WORKFLOW_ID/SCHEDULE_ID``."""
        workflow, _, schedule = identifier.partition("/")
        listed = call.lists.schedule(schedule) if call.lists is not None and state else None
        current = listed or self._listed(call.api, workflow).get(schedule)
        if current is None:
            return None
        fields = _schedule_fields({**current, "cron": current.get("cron_expression")})
        if not state:
            inputs = {"workflow_id": workflow, "name": name_of(current.get("name"), schedule), **fields}
            return inputs, {**inputs, "server": fields}
        inputs = {key: value for key, value in state.items() if key != "server"}
        recorded = _schedule_fields(state) if call.on_ui_edit == "adopt" else fields
        return inputs, {**inputs, "server": recorded}

    def update(self, call: Call, identifier: str, state: Json, inputs: Json) -> Json:
        """Writes only if the server's differs."""
        _, outputs = self._write(call, inputs, identifier.partition("/")[2], state)
        return outputs

    def delete(self, call: Call, identifier: str) -> None:
        """One that went with its workflow is no error."""
        workflow, _, schedule = identifier.partition("/")
        call.api.ask("DELETE", f"/v1/workflows/{workflow}/schedules/{schedule}")

    def _write(self, call: Call, inputs: Json, schedule: str | None, state: Json | None) -> tuple[str, Json]:
        workflow, wanted = inputs["workflow_id"], _schedule_fields(inputs)
        name = RESERVED + inputs["name"]
        path = f"/v1/workflows/{workflow}/schedules"
        listed = self._listed(call.api, workflow)
        current = listed.get(schedule or "") or next((known for known in listed.values() if known.get("name") == name), None)
        body = {
            "cron_expression": wanted["cron"],
            "timezone": wanted["timezone"],
            "parameters": wanted["parameters"] or None,
            "enabled": wanted["enabled"],
            "name": name,
            "description": None,
        }
        if current is None:
            made = call.api.ask("POST", path, body=body)
            if made is None:
                raise ApiError(
                    f"schedule {inputs['name']}: its workflow is gone; run pulumi refresh, and the next update makes both again"
                )
            current = made["schedule"]
        else:
            there = _schedule_fields({**current, "cron": current.get("cron_expression")})
            recorded = wanted if state is None else _schedule_fields(state)
            if recorded["enabled"] == wanted["enabled"]:
                wanted = _paused_as(there, wanted)
                body["enabled"] = wanted["enabled"]
            known = (wanted, _paused_as(there, recorded))
            if state is not None and call.on_ui_edit == "keep" and there not in known:
                raise ApiError(
                    f"schedule {inputs['name']}: edited in the UI; nothing was written. Bring the edit into the file, or set "
                    "on_ui_edit to overwrite"
                )
            if there != wanted or current.get("name") != name:
                current = call.api.need("PUT", f"{path}/{current['workflow_schedule_id']}", body=body)["schedule"]
        return f"{workflow}/{current['workflow_schedule_id']}", {**inputs, "server": wanted}

    @staticmethod
    def _listed(api: Api, workflow: str) -> dict[str, Json]:
        answer = api.ask("GET", f"/v1/workflows/{workflow}/schedules") or {}
        return {schedule["workflow_schedule_id"]: schedule for schedule in answer.get("schedules", [])}


def _schedule_fields(values: Json) -> Json:
    """Comparable. A parameter without a value is dropped, as the server does (1.0.56)."""
    return {
        "cron": values.get("cron"),
        "timezone": values.get("timezone"),
        "parameters": {key: value for key, value in (values.get("parameters") or {}).items() if value is not None},
        "enabled": values.get("enabled") is not False,
    }


def _paused_as(there: Json, fields: Json) -> Json:
    """The fields, paused if it is paused there."""
    return fields if there["enabled"] else {**fields, "enabled": False}


class Credential:
    """A credential. Inputs: name, type, tested_url, values (secret; the fields of Skyvern's credential of that type).

    What it holds is never readable again, so drift of a value cannot be seen; the engine keeps the values, encrypted, and a
    change of them is written.
    """

    replaces = frozenset({"type"})

    def check(self, inputs: Json) -> list[tuple[str, str]]:
        """tested_url binds it to its site: Skyvern types it nowhere else."""
        problems = [*_name_problem(inputs), *_missing(inputs, "values")]
        if inputs.get("type") not in CREDENTIAL_TYPES:
            problems.append(("type", f"is not a type of credential; write one of {', '.join(CREDENTIAL_TYPES)}"))
        return problems

    def drift(self, state: Json, on_ui_edit: OnUiEdit) -> list[str]:
        """A name or a site that was changed in the UI."""
        there = state.get("server")
        if there is None or on_ui_edit != "overwrite":
            return []
        # The server cannot forget a site (1.0.56): none in the program is no difference that an update could put right.
        moved = state.get("tested_url") not in {None, there.get("tested_url")}
        return ["server"] if moved or there.get("name") != state.get("name") else []

    def create(self, call: Call, inputs: Json) -> tuple[str, Json]:
        """Creates it, or takes over the one of this name."""
        name = RESERVED + inputs["name"]
        known = next((known for known in call.api.pages("/v1/credentials", search=name) if known.get("name") == name), None)
        if known is not None and known.get("credential_type") == inputs["type"]:
            return known["credential_id"], self.update(call, known["credential_id"], {}, inputs)
        made = self._send(call, "/v1/credentials", inputs)
        return made["credential_id"], {**inputs, "server": _credential_fields(inputs)}

    def read(self, call: Call, identifier: str, state: Json) -> tuple[Json, Json] | None:
        """An import has no values: the program gives them, and the next update writes them."""
        current = call.api.ask("GET", f"/v1/credentials/{identifier}")
        if current is None:
            return None
        there = {"name": (current.get("name") or "").removeprefix(RESERVED), "tested_url": current.get("tested_url")}
        if not state:
            name = name_of(current.get("name"), identifier)
            inputs = {"name": name, "type": current["credential_type"], "values": {}, "tested_url": there["tested_url"]}
            return inputs, {**inputs, "server": there}
        inputs = {key: value for key, value in state.items() if key != "server"}
        return inputs, {**inputs, "server": _credential_fields(state) if call.on_ui_edit == "adopt" else there}

    def update(self, call: Call, identifier: str, state: Json, inputs: Json) -> Json:
        """Overwrites it as a whole; one that was deleted in the UI is an error, because its id is in workflows."""
        if self._send(call, f"/v1/credentials/{identifier}/update", inputs) is None:
            raise ApiError(f"credential {inputs['name']}: is gone; run pulumi refresh, and the next update makes it again")
        return {**inputs, "server": _credential_fields(inputs)}

    def delete(self, call: Call, identifier: str) -> None:
        """A run that needs it fails afterwards."""
        call.api.ask("POST", f"/v1/credentials/{identifier}/delete")

    @staticmethod
    def _send(call: Call, path: str, inputs: Json) -> Any:
        body = {
            "name": RESERVED + inputs["name"],
            "credential_type": inputs["type"],
            "credential": inputs["values"],
            "tested_url": inputs.get("tested_url"),
        }
        try:
            return call.api.ask("POST", path, body=body)
        except ApiError as refused:
            # The line has one space in place of several, and of the ends of lines that a key has.
            values = {" ".join(str(value).split()) for key, value in inputs["values"].items() if key != "totp_type"}
            text = str(refused)
            for value in sorted(values - {""}, key=len, reverse=True):
                text = text.replace(value, "[secret]")
            raise ApiError(f"credential {inputs['name']}: {text}") from None


def _credential_fields(values: Json) -> Json:
    return {"name": values.get("name"), "tested_url": values.get("tested_url")}


class Folder:
    """A folder of workflows. Input: title. One of the title that a program made is shared and not doubled."""

    replaces: frozenset[str] = frozenset()
    # Titles are not unique; this marks those of a program.
    description = "managed by pulumi"

    def check(self, inputs: Json) -> list[tuple[str, str]]:
        """Any text is a title."""
        title = inputs.get("title")
        return [] if isinstance(title, str) and title.strip() else [("title", "is empty; write a title")]

    def drift(self, state: Json, on_ui_edit: OnUiEdit) -> list[str]:
        """A folder that was renamed in the UI."""
        return ["server_title"] if state.get("server_title") != state.get("title") and on_ui_edit == "overwrite" else []

    def create(self, call: Call, inputs: Json) -> tuple[str, Json]:
        """Creates it, or takes over the marked one of this title."""
        title = inputs["title"]
        known = next(
            (
                folder
                for folder in call.api.pages("/v1/folders", search=title)
                if folder.get("title") == title and folder.get("description") == self.description
            ),
            None,
        )
        made = known or call.api.need("POST", "/v1/folders", body={"title": title, "description": self.description})
        return made["folder_id"], {**inputs, "server_title": title}

    def read(self, call: Call, identifier: str, state: Json) -> tuple[Json, Json] | None:
        """Its title on the server beside the recorded one."""
        current = call.api.ask("GET", f"/v1/folders/{identifier}")
        if current is None:
            return None
        inputs = {"title": state.get("title", current["title"])}
        return inputs, {**inputs, "server_title": inputs["title"] if call.on_ui_edit == "adopt" else current["title"]}

    def update(self, call: Call, identifier: str, state: Json, inputs: Json) -> Json:
        """Renames it."""
        body = {"title": inputs["title"], "description": self.description}
        call.api.need("PUT", f"/v1/folders/{identifier}", body=body)
        return {**inputs, "server_title": inputs["title"]}

    def delete(self, call: Call, identifier: str) -> None:
        """Workflows in it stay."""
        call.api.ask("DELETE", f"/v1/folders/{identifier}")


class BrowserProfile:
    """A browser profile that a person saved in the UI. Input: name; the id is the profile's. Nothing is created or deleted."""

    replaces = frozenset({"name"})

    def check(self, inputs: Json) -> list[tuple[str, str]]:
        """Any text is a name."""
        name = inputs.get("name")
        return [] if isinstance(name, str) and name else [("name", "is empty; write the name of a saved browser profile")]

    def drift(self, state: Json, on_ui_edit: OnUiEdit) -> list[str]:
        """It is the person's."""
        return []

    def create(self, call: Call, inputs: Json) -> tuple[str, Json]:
        """Looks it up."""
        name, shown = inputs["name"], json.dumps(inputs["name"], ensure_ascii=False)
        found = [known for known in call.api.pages("/v1/browser_profiles", search_key=name) if known.get("name") == name]
        if not found:
            raise ApiError(
                f"browser profile {shown}: none of this name is saved; log in once in a browser session of the UI, save it as a "
                "profile of this name, and run the update again"
            )
        if len(found) > 1:
            raise ApiError(f"browser profile {shown}: {len(found)} have this name; rename all but one")
        return found[0]["browser_profile_id"], dict(inputs)

    def read(self, call: Call, identifier: str, state: Json) -> tuple[Json, Json] | None:
        """Whether it is still there."""
        current = call.api.ask("GET", f"/v1/browser_profiles/{identifier}")
        if current is None:
            return None
        inputs = {"name": state.get("name", current["name"])}
        return inputs, dict(inputs)

    def update(self, call: Call, identifier: str, state: Json, inputs: Json) -> Json:
        """There is nothing to change."""
        return dict(inputs)

    def delete(self, call: Call, identifier: str) -> None:
        """The profile stays."""


KINDS: Mapping[str, Kind] = {
    "skyvern:index:BrowserProfile": BrowserProfile(),
    "skyvern:index:Credential": Credential(),
    "skyvern:index:Folder": Folder(),
    "skyvern:index:Schedule": Schedule(),
    "skyvern:index:Workflow": Workflow(),
}

# Keys of a workflow's answer that are the document's. The rest is the server's own.
DOCUMENT_KEYS = (
    "title",
    "description",
    "proxy_location",
    "webhook_callback_url",
    "totp_verification_url",
    "totp_identifier",
    "persist_browser_session",
    "reuse_browser_session",
    "mask_secrets",
    "browser_profile_id",
    "model",
    "max_screenshot_scrolls",
    "max_elapsed_time_minutes",
    "extra_http_headers",
    "run_with",
    "browser_type",
    "ai_fallback",
    "cache_key",
    "run_sequentially",
    "sequential_key",
    "workflow_definition",
)


# The server's own id of a parameter.
_SERVER_ID = re.compile(r"(workflow|output|credential|context|bitwarden\w*|aws_secret|onepassword\w*|azure\w*)_parameter_id")


def exported(answer: Json) -> Json:
    """A document that could be sent, from what the server gives back: without its ids, times and output parameters."""
    raw = {key: answer[key] for key in DOCUMENT_KEYS if answer.get(key) is not None}
    definition = dict(raw.get("workflow_definition") or {})
    definition["parameters"] = [
        _without_server_keys(parameter)
        for parameter in definition.get("parameters") or []
        if parameter.get("parameter_type") != "output"
    ]
    definition["blocks"] = [_exported_block(block) for block in definition.get("blocks") or []]
    raw["workflow_definition"] = {key: value for key, value in definition.items() if value is not None}
    return raw


def _exported_block(block: Json) -> Json:
    made = _without_server_keys({key: value for key, value in block.items() if key != "output_parameter"})
    if "parameters" in made:
        made["parameter_keys"] = [parameter["key"] for parameter in made.pop("parameters") or []]
    if isinstance(made.get("loop_over"), dict):
        made["loop_over_parameter_key"] = made.pop("loop_over").get("key")
    if "loop_blocks" in made:
        made["loop_blocks"] = [_exported_block(inner) for inner in made["loop_blocks"]]
    return made


def _without_server_keys(values: Json) -> Json:
    return {
        key: value
        for key, value in values.items()
        if value is not None
        and key not in {"created_at", "modified_at", "deleted_at", "workflow_id"}
        and not _SERVER_ID.fullmatch(key)
    }
