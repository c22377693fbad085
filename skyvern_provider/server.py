"""The engine's side: Pulumi's resource provider protocol over gRPC, for the kinds of kinds.py.

Straight on the protocol's stubs, which the SDK has: its own classes for providers (pulumi.provider.experimental, 3.272) put a
traceback into each error and leave out the old inputs, by which an edit of a person is told from one on the server.

A plan needs no server: check and diff look at inputs and recorded state alone, and a preview creates nothing. The provider takes
no secrets, so the engine keeps them and marks an output of a secret input's name as it marked the input.
"""

import os
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent import futures
from typing import Any, NoReturn, Protocol, TypeVar

import grpc  # type: ignore[import-untyped]  # it has no stubs
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from skyvern_provider.api import Api, ApiError, Json, is_url
from skyvern_provider.kinds import KINDS, POLICIES, Call, Kind, Lists
from skyvern_provider.version import VERSION

Result = TypeVar("Result")

# Parts of the protocol, which pulumi.runtime.rpc has under private names.
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
SIGNATURE, SECRET = "4dabf18193072939515e22adb298388d", "1b47061264138c4ac30d75fd1eb44270"
_Diff = provider_pb2.DiffResponse
_Change = provider_pb2.PropertyDiff


class Context(Protocol):
    """The used part of a call's context."""

    def abort(self, code: Any, details: str) -> NoReturn:
        """Ends the call with an error."""


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """One plugin process: one configuration. connect: makes the client from URL and key."""

    def __init__(self, connect: Callable[[str, str], Api] = Api) -> None:
        self._connect = connect
        self._config: Json = {}
        self._call: Call | None = None
        self._lock = threading.Lock()
        # Ids that were read and not compared since.
        self._read: set[str] = set()

    # --- Configuration ---

    def GetPluginInfo(self, request: empty_pb2.Empty, context: Context) -> plugin_pb2.PluginInfo:
        """The version."""
        return plugin_pb2.PluginInfo(version=VERSION)

    def GetSchema(self, request: provider_pb2.GetSchemaRequest, context: Context) -> provider_pb2.GetSchemaResponse:
        """Only the name: the classes are written by hand (resources.py)."""
        return provider_pb2.GetSchemaResponse(schema=f'{{"name": "skyvern", "version": "{VERSION}"}}')

    def CheckConfig(self, request: provider_pb2.CheckRequest, context: Context) -> provider_pb2.CheckResponse:
        """A URL, a key and the choice."""
        config = _decode(request.news)
        problems = []
        for name in ("url", "apiKey"):
            if not config.get(name):
                problems.append((name, "is missing; write it"))
        url = config.get("url", "")
        if url and url != UNKNOWN and not is_url(str(url)):
            problems.append(("url", "is not a URL; write it in full, for example https://api.example.com"))
        if config.get("onUiEdit", "keep") not in (*POLICIES, UNKNOWN):
            problems.append(("onUiEdit", f"is not possible; write one of {', '.join(POLICIES)}"))
        return provider_pb2.CheckResponse(inputs=request.news, failures=_failures(problems))

    def DiffConfig(self, request: provider_pb2.DiffRequest, context: Context) -> provider_pb2.DiffResponse:
        """A new key or URL leads to the same resources, so nothing is replaced."""
        return _Diff(changes=_Diff.DIFF_NONE if _decode(request.olds) == _decode(request.news) else _Diff.DIFF_SOME)

    def Configure(self, request: provider_pb2.ConfigureRequest, context: Context) -> provider_pb2.ConfigureResponse:
        """Connects to nothing."""
        self._config = _decode(request.args)
        return provider_pb2.ConfigureResponse(acceptSecrets=False, supportsPreview=True, acceptResources=False)

    def Cancel(self, request: empty_pb2.Empty, context: Context) -> empty_pb2.Empty:
        """Requests are short, and what they made is found again."""
        return empty_pb2.Empty()

    # --- Resources ---

    def Check(self, request: provider_pb2.CheckRequest, context: Context) -> provider_pb2.CheckResponse:
        """Mistakes that can be seen without the server."""
        kind = self._kind(request, context)
        inputs = _decode(request.news)
        known = {key: value for key, value in inputs.items() if value != UNKNOWN}
        problems = [(name, text) for name, text in kind.check(known) if inputs.get(name) != UNKNOWN]
        return provider_pb2.CheckResponse(inputs=request.news, failures=_failures(problems))

    def Diff(self, request: provider_pb2.DiffRequest, context: Context) -> provider_pb2.DiffResponse:
        """What the program says against what it said, and what the last refresh saw, where that is to be put right."""
        kind = self._kind(request, context)
        state, news = _decode(request.olds), _decode(request.news)
        before = _decode(request.old_inputs) or {key: value for key, value in state.items() if key in news}
        changed = sorted(key for key in {*before, *news} if before.get(key) != news.get(key))
        changed = [key for key in changed if key not in set(request.ignoreChanges)]
        replaces = [key for key in changed if key in kind.replaces]
        policy = self._config.get("onUiEdit", "keep")
        # A refresh reads, then compares to show what it found: there an edit is shown, even if an update is to keep it.
        if request.id in self._read:
            self._read.discard(request.id)
            policy = "overwrite"
        drifted = kind.drift(state, policy) if policy in POLICIES else []
        details = {
            **{key: _Change(kind=_Change.UPDATE, inputDiff=False) for key in drifted},
            **{
                key: _Change(kind=_Change.UPDATE_REPLACE if key in replaces else _change(before, news, key), inputDiff=True)
                for key in changed
            },
        }
        return _Diff(
            changes=_Diff.DIFF_SOME if details else _Diff.DIFF_NONE,
            diffs=sorted(details),
            replaces=replaces,
            # The new one would find the old one by its reserved name.
            deleteBeforeReplace=bool(replaces),
            hasDetailedDiff=True,
            detailedDiff=details,
        )

    def Create(self, request: provider_pb2.CreateRequest, context: Context) -> provider_pb2.CreateResponse:
        """In a preview, the inputs alone."""
        kind, inputs = self._kind(request, context), _decode(request.properties)
        if request.preview:
            return provider_pb2.CreateResponse(properties=to_struct(inputs))
        identifier, outputs = self._asking(context, lambda call: kind.create(call, inputs))
        return provider_pb2.CreateResponse(id=identifier, properties=to_struct(outputs))

    def Read(self, request: provider_pb2.ReadRequest, context: Context) -> provider_pb2.ReadResponse:
        """For a refresh and for an import."""
        kind, state = self._kind(request, context), _decode(request.properties)
        found = self._asking(context, lambda call: kind.read(call, request.id, state), writes=False)
        if found is None:
            return provider_pb2.ReadResponse()
        self._read.add(request.id)
        inputs, outputs = found
        return provider_pb2.ReadResponse(id=request.id, inputs=to_struct(inputs), properties=to_struct(outputs))

    def Update(self, request: provider_pb2.UpdateRequest, context: Context) -> provider_pb2.UpdateResponse:
        """In a preview, the new inputs over what is recorded."""
        kind, state, news = self._kind(request, context), _decode(request.olds), _decode(request.news)
        if request.preview:
            return provider_pb2.UpdateResponse(properties=to_struct({**state, **news}))
        outputs = self._asking(context, lambda call: kind.update(call, request.id, state, news))
        return provider_pb2.UpdateResponse(properties=to_struct(outputs))

    def Delete(self, request: provider_pb2.DeleteRequest, context: Context) -> empty_pb2.Empty:
        """What is gone already is deleted."""
        kind = self._kind(request, context)
        self._asking(context, lambda call: kind.delete(call, request.id))
        return empty_pb2.Empty()

    # --- Calls ---

    def _kind(self, request: Any, context: Context) -> Kind:
        token = request.type or request.urn.split("::")[2].rpartition("$")[2]
        if token not in KINDS:
            context.abort(
                grpc.StatusCode.UNKNOWN, f"{token}: is not a resource of Skyvern's; known are {', '.join(sorted(KINDS))}"
            )
        return KINDS[token]

    def _asking(self, context: Context, question: Callable[[Call], Result], *, writes: bool = True) -> Result:
        try:
            with self._lock:
                if self._call is None:
                    api = self._connect(str(self._config.get("url", "")), str(self._config.get("apiKey", "")))
                    self._call = Call(api=api, on_ui_edit=self._config.get("onUiEdit", "keep"), lists=Lists(api))
            if writes and self._call.lists is not None:
                self._call.lists.forget()
            return question(self._call)
        except ApiError as refused:
            context.abort(grpc.StatusCode.UNKNOWN, str(refused))
        except (KeyError, TypeError, ValueError, AttributeError) as unexpected:
            text = f"Skyvern answered in an unexpected shape ({type(unexpected).__name__}: {unexpected}); is it another version?"
            context.abort(grpc.StatusCode.UNKNOWN, text)


def _change(before: Mapping[str, Any], news: Mapping[str, Any], key: str) -> Any:
    return _Change.ADD if key not in before else _Change.DELETE if key not in news else _Change.UPDATE


def _failures(problems: list[tuple[str, str]]) -> list[provider_pb2.CheckFailure]:
    return [provider_pb2.CheckFailure(property=name, reason=text) for name, text in problems]


def _decode(struct: struct_pb2.Struct) -> Json:
    """A null is an absent property, as everywhere in Pulumi; a whole number is one again, which the wire does not know."""
    decoded: Json = _whole(json_format.MessageToDict(struct))
    return {key: value for key, value in decoded.items() if value is not None and not key.startswith("__")}


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        # Its configuration a provider gets with marks, whatever it says of secrets.
        if value.get(SIGNATURE) == SECRET:
            return _whole(value["value"])
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def to_struct(properties: Mapping[str, Any]) -> struct_pb2.Struct:
    """As the wire has them. A null is an absent property."""
    struct = struct_pb2.Struct()
    struct.update({name: value for name, value in properties.items() if value is not None})
    return struct


def serve(provider: provider_pb2_grpc.ResourceProviderServicer) -> None:
    """Serves on a free loopback port, which is printed for the engine, until the engine ends."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    # The engine kills its plugins; an engine that was killed leaves them to init.
    engine, ended = os.getppid(), threading.Event()
    while os.getppid() == engine and not ended.wait(1):
        pass
    server.stop(grace=None)
    sys.exit()
