"""The engine's side: a resource provider over gRPC, for any vendor.

Its answers follow the Terraform bridge for providers of the plugin framework (pkg/pf/tfbridge). A change is planned by comparing
the new inputs with the STATE, so that drift after a refresh is part of the plan. A property that was given neither now nor before
is the API's. Values that the API computes are unknown until it has answered. Replacement never asks for deletion first.
"""

import copy
import os
import signal
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NoReturn, TypeVar

import grpc  # type: ignore[import-untyped]  # it has no stubs
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, plugin_pb2, provider_pb2, provider_pb2_grpc

from lab.standins.providers import schema as schemas
from lab.standins.providers.schema import Failure, Schema
from lab.standins.providers.vendor import Call, Kind, Properties, Refused, Vendor
from lab.standins.providers.wire import UNKNOWN, Secret, marked, plain, sealed
from lab.standins.providers.world import World, take_fault
from skyvern_provider.server import Context, serve, to_struct

Result = TypeVar("Result")


_CHANGE = provider_pb2.PropertyDiff.Kind


# --- Plans ---------------------------------------------------------------------------------------------------------------


def differences(new: Any, state: Any, before: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, "add", "update" or "delete") for each leaf of the new inputs that is not what the state has.

    before: the inputs of the last update, which distinguish a removed property from one that the API has filled.
    """
    if isinstance(new, dict) and isinstance(state, dict):
        before = before if isinstance(before, dict) else {}
        for key in sorted({*new, *before}):
            where = f"{path}.{key}" if path else key
            yield from differences(new.get(key), state.get(key), before.get(key), where)
    elif isinstance(new, list) and isinstance(state, list):
        before = before if isinstance(before, list) else []
        for index in range(max(len(new), len(state))):
            at = [values[index] if index < len(values) else None for values in (new, state, before)]
            # An element of the state beyond the new list is to be removed, whoever has added it.
            yield from differences(at[0], at[1], at[1] if index >= len(new) else at[2], f"{path}[{index}]")
    elif new != state and (new is not None or before is not None):
        yield path, "add" if state is None else "delete" if new is None else "update"


def plan(kind: Kind, resource: schemas.Resource, inputs: Mapping[str, Any], known: Mapping[str, Any]) -> Properties:
    """Outputs before the call: what the API computes is unknown. ``known``: outputs that stay as they are."""
    outputs = {**kind.defaults, **inputs, **known}
    for name in resource.outputs:
        if name not in outputs and (name not in resource.inputs or name in kind.computed):
            outputs[name] = UNKNOWN
    return outputs


# --- The service ---------------------------------------------------------------------------------------------------------


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """One plugin process: one configuration of one vendor's provider."""

    def __init__(self, vendor: Vendor, schema: Schema, world: World, warn: Callable[[str, str], None]) -> None:
        """``warn``: takes a resource's URN and a message for the terminal."""
        self.vendor, self.schema, self.world, self.warn = vendor, schema, world, warn
        self.config: Properties = {}
        # Kinds are found by the type token that their class has in the SDK: "cloudflare:index/dnsRecord:DnsRecord".
        self.kinds = {token: kind for token in schema.resources for kind in vendor.kinds if token.endswith(f":{kind.resource}")}
        self.functions = {
            token: call
            for token in schema.functions
            for name, call in vendor.functions.items()
            if token.endswith(f":{_camel(name)}")
        }

    # --- Configuration ---

    def GetPluginInfo(self, request: empty_pb2.Empty, context: Context) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=self.schema.version)

    def CheckConfig(self, request: provider_pb2.CheckRequest, context: Context) -> provider_pb2.CheckResponse:
        config = {key: value for key, value in plain(_decode(request.news)).items() if key not in schemas.ENGINE_OWN}
        failures = schemas.failures(self.schema.config, config) or self.vendor.check_config(config)
        return provider_pb2.CheckResponse(inputs=request.news, failures=_check_failures(failures))

    def DiffConfig(self, request: provider_pb2.DiffRequest, context: Context) -> provider_pb2.DiffResponse:
        # A new token or URL leads to the same resources, so nothing is replaced.
        same = _decode(request.olds) == _decode(request.news)
        answer = provider_pb2.DiffResponse
        return answer(changes=answer.DIFF_NONE if same else answer.DIFF_SOME)

    def Configure(self, request: provider_pb2.ConfigureRequest, context: Context) -> provider_pb2.ConfigureResponse:
        named = {key: os.environ[name] for key, name in self.vendor.environment.items() if name in os.environ}
        self.config = {**named, **plain(_decode(request.args))}
        # A token or team that is not known yet is checked when it is.
        if self.vendor.configure is not None and UNKNOWN not in self.config.values():
            self._ask("configure", f"pulumi:providers:{self.schema.name}", "", {}, context, self.vendor.configure)
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True, acceptResources=True)

    def Cancel(self, request: empty_pb2.Empty, context: Context) -> empty_pb2.Empty:
        return empty_pb2.Empty()

    # --- Resources ---

    def Check(self, request: provider_pb2.CheckRequest, context: Context) -> provider_pb2.CheckResponse:
        kind, resource = self._kind(request.type or _type_of(request.urn), context)
        inputs = plain(_decode(request.news))
        failures = schemas.failures(resource.inputs, inputs) or kind.check(inputs)
        return provider_pb2.CheckResponse(inputs=_with_sealed(request.news, kind.sets), failures=_check_failures(failures))

    def Diff(self, request: provider_pb2.DiffRequest, context: Context) -> provider_pb2.DiffResponse:
        kind, _ = self._kind(request.type or _type_of(request.urn), context)
        new, state, before = (plain(_decode(part)) for part in (request.news, request.olds, request.old_inputs))
        changed = {
            # A set with an unknown element changes as a whole: which element that is cannot be known.
            (_top(path) if _top(path) in kind.sets and UNKNOWN in new.get(_top(path), ()) else path): change
            for path, change in differences({**kind.defaults, **new}, state, before)
        }
        for name in request.ignoreChanges:
            changed = {path: change for path, change in changed.items() if _top(path) != name}
        replaces = sorted(path for path in changed if _top(path) in kind.replaces)
        answer = provider_pb2.DiffResponse
        return answer(
            changes=answer.DIFF_SOME if changed else answer.DIFF_NONE,
            diffs=sorted({_top(path) for path in changed}),
            replaces=replaces,
            deleteBeforeReplace=False,
            hasDetailedDiff=bool(changed),
            detailedDiff={
                path: provider_pb2.PropertyDiff(kind=_CHANGE.Value(f"{change.upper()}{'_REPLACE' if path in replaces else ''}"))
                for path, change in changed.items()
            },
        )

    def Create(self, request: provider_pb2.CreateRequest, context: Context) -> provider_pb2.CreateResponse:
        kind, resource = self._kind(request.type or _type_of(request.urn), context)
        sent = _decode(request.properties)
        inputs = plain(sent)
        if request.preview:
            return provider_pb2.CreateResponse(properties=_encode(plan(kind, resource, inputs, {}), resource, sent))
        identifier, outputs = self._mutate("create", request, sent, context, lambda call: kind.create(call, inputs))
        try:
            kind.settle(self.world, identifier)
        except Refused as error:
            _abort(context, str(error))
        properties = _encode(self._checked(kind, resource, outputs), resource, sent)
        return provider_pb2.CreateResponse(id=identifier, properties=properties)

    def Read(self, request: provider_pb2.ReadRequest, context: Context) -> provider_pb2.ReadResponse:
        kind, resource = self._kind(request.type or _type_of(request.urn), context)
        kept, given = _decode(request.properties), _decode(request.inputs)
        known, before = plain(kept), plain(given)
        identifier = request.id
        if not known:
            identifier, known = kind.imported(request.id)

        def read(call: Call) -> Properties | None:
            return kind.read(call, identifier, known)

        outputs = self._ask("read", request.type or _type_of(request.urn), request.name, {"id": identifier}, context, read)
        if outputs is None:
            return provider_pb2.ReadResponse()
        unread = {name: known[name] for name in kind.unread if name in known}
        state = self._checked(kind, resource, {**outputs, **unread})
        # As the bridge does: after an import every input with a value counts as given, later only those that were given.
        names = before or {name for name in resource.inputs if state.get(name) not in (None, kind.defaults.get(name))}
        inputs = {name: _as_given(state.get(name), before.get(name)) for name in names if state.get(name) is not None}
        return provider_pb2.ReadResponse(
            id=identifier, properties=_encode(state, resource, kept), inputs=_encode(inputs, resource, given)
        )

    def Update(self, request: provider_pb2.UpdateRequest, context: Context) -> provider_pb2.UpdateResponse:
        kind, resource = self._kind(request.type or _type_of(request.urn), context)
        sent, known = _decode(request.news), plain(_decode(request.olds))
        inputs = plain(sent)
        if request.preview:
            same = {"id": known["id"]} if "id" in known else {}
            return provider_pb2.UpdateResponse(properties=_encode(plan(kind, resource, inputs, same), resource, sent))
        outputs = self._mutate("update", request, sent, context, lambda call: kind.update(call, request.id, inputs, known))
        return provider_pb2.UpdateResponse(properties=_encode(self._checked(kind, resource, outputs), resource, sent))

    def Delete(self, request: provider_pb2.DeleteRequest, context: Context) -> empty_pb2.Empty:
        kind, _ = self._kind(request.type or _type_of(request.urn), context)
        known = plain(_decode(request.properties))
        if kind.forgets:
            self.warn(request.urn, self.vendor.forgetting)
            type_ = request.type or _type_of(request.urn)
            self.world.record({"operation": "delete", "type": type_, "name": request.name, "id": request.id})
        else:
            self._mutate("delete", request, {}, context, lambda call: kind.delete(call, request.id, known))
        return empty_pb2.Empty()

    # --- Look-ups ---

    def Invoke(self, request: provider_pb2.InvokeRequest, context: Context) -> provider_pb2.InvokeResponse:
        function = self.schema.functions.get(request.tok)
        if function is None:
            _abort(context, f"{request.tok}: the stand-in does not know this function")
        arguments = {key: value for key, value in plain(_decode(request.args)).items() if value is not None}
        failures = schemas.failures(function.inputs, arguments)
        if failures:
            return provider_pb2.InvokeResponse(failures=_check_failures(failures))
        call = self.functions[request.tok]
        answer = self._ask("invoke", request.tok, "", arguments, context, lambda made: call(made, arguments))
        self._assert_declared(function.outputs, answer)
        # A result is never secret: the bridge drops the mark (pkg/pf/tfbridge/provider_invoke.go).
        response = provider_pb2.InvokeResponse()
        getattr(response, "return").CopyFrom(to_struct(answer))
        return response

    # --- Calls ---

    def _mutate(
        self, operation: str, request: Any, sent: Properties, context: Context, change: Callable[[Call], Result]
    ) -> Result:
        """Makes a call that changes the world, counts it, and lets it fail if a test wants that."""
        type_ = request.type or _type_of(request.urn)
        entry = {"operation": operation, "type": type_, "name": request.name, "inputs": sent}
        with self.world.edit() as data:
            fault = take_fault(data, request.name) or {}
            entry["call"] = data["calls"]
            before = copy.deepcopy(data)
            result: Result | None = None
            refusal: Exception | None = None
            try:
                if not fault or fault.get("done") or fault.get("crash"):
                    result = change(Call(data, self.schema, self.config))
                if fault and not fault.get("crash"):
                    raise Refused(f"{fault['status']} {fault['message']} (code {fault['code']})", fault["code"])
            except Refused as error:
                refusal = error
                entry["error"] = error.code
                if not fault.get("done"):
                    # A refused call changes nothing, however far it had got.
                    data.clear()
                    data.update(before)
        identifier = result[0] if isinstance(result, tuple) else getattr(request, "id", "")
        self.world.record({**entry, "id": identifier})
        if fault.get("engine"):
            os.kill(os.getppid(), signal.SIGKILL)
        if fault.get("crash"):
            os._exit(70)
        if refusal is not None:
            _abort(context, str(refusal))
        return result  # type: ignore[return-value]  # set unless refused

    def _ask(
        self,
        operation: str,
        type_: str,
        name: str,
        arguments: Properties,
        context: Context,
        question: Callable[[Call], Result],
    ) -> Result:
        entry = {"operation": operation, "type": type_, "name": name, "id": arguments.get("id", ""), "inputs": arguments}
        try:
            answer = question(Call(self.world.read(), self.schema, self.config))
        except Refused as error:
            self.world.record({**entry, "error": error.code})
            _abort(context, str(error))
        self.world.record(entry)
        return answer

    def _kind(self, type_: str, context: Context) -> tuple[Kind, schemas.Resource]:
        if type_ not in self.kinds:
            _abort(context, f"{type_}: the stand-in does not know this resource type")
        return self.kinds[type_], self.schema.resources[type_]

    def _checked(self, kind: Kind, resource: schemas.Resource, outputs: Properties) -> Properties:
        """Outputs with the provider's defaults, checked against those that the SDK declares."""
        full = {**kind.defaults, **{name: value for name, value in outputs.items() if value is not None}}
        self._assert_declared(resource.outputs, full)
        return full

    def _assert_declared(self, declared: Mapping[str, schemas.Field], answer: Mapping[str, Any]) -> None:
        failures = schemas.failures(declared, {name: value for name, value in answer.items() if name != "id"})
        assert not failures, f"the stand-in answers with what the SDK does not have: {failures}"


def _as_given(state: Any, before: Any) -> Any:
    """A value of the state reduced to the given inputs: nested properties that the API added are left out."""
    if isinstance(state, dict) and isinstance(before, dict):
        return {key: _as_given(state[key], before[key]) for key in before if state.get(key) is not None}
    if isinstance(state, list) and isinstance(before, list):
        return [_as_given(item, before[index] if index < len(before) else item) for index, item in enumerate(state)]
    return state


# --- The wire ------------------------------------------------------------------------------------------------------------


def _decode(struct: struct_pb2.Struct) -> Properties:
    decoded: Properties = marked(json_format.MessageToDict(struct))
    # A null is an absent property, as everywhere in Pulumi.
    return {key: value for key, value in decoded.items() if value is not None and not key.startswith("__")}


def _with_sealed(news: struct_pb2.Struct, names: Collection[str]) -> struct_pb2.Struct:
    """Inputs in which those with a secret in them are secret as a whole."""
    inputs = json_format.MessageToDict(news)
    for name in set(names) & set(inputs):
        sent = marked(inputs[name])
        inputs[name] = inputs[name] if plain(sent) == sent else sealed(plain(sent))
    return to_struct(inputs)


def _encode(properties: Mapping[str, Any], resource: schemas.Resource, sent: Mapping[str, Any]) -> struct_pb2.Struct:
    """``sent``: inputs or state with ``Secret``; what was secret there is secret again, and so is what the SDK marks."""
    return to_struct(
        {
            name: sealed(value) if name in resource.secrets else _annotated(value, sent.get(name))
            for name, value in properties.items()
            if value is not None
        }
    )


def _annotated(value: Any, sent: Any) -> Any:
    # The bridge leaves this to the engine (annotateSecrets in sdk/go/common/resource/plugin); the journal wants the marks.
    if isinstance(sent, Secret):
        return sealed(value)
    if isinstance(value, dict) and isinstance(sent, dict):
        return {key: _annotated(item, sent.get(key)) for key, item in value.items()}
    if isinstance(value, list) and isinstance(sent, list) and len(value) == len(sent):
        return [_annotated(item, sent[index]) for index, item in enumerate(value)]
    return value


def _check_failures(failures: list[Failure]) -> list[provider_pb2.CheckFailure]:
    return [provider_pb2.CheckFailure(property=failure.path, reason=f"{failure.path} {failure.reason}") for failure in failures]


def _abort(context: Context, message: str) -> NoReturn:
    context.abort(grpc.StatusCode.UNKNOWN, message)


def _type_of(urn: str) -> str:
    return urn.split("::")[2].rpartition("$")[2]


def _top(path: str) -> str:
    return path.partition(".")[0].partition("[")[0]


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


# --- The process ---------------------------------------------------------------------------------------------------------


def serve_vendor(vendor: Vendor, schema: Schema, world: World, engine_address: str) -> None:
    """Serves until the engine ends."""
    engine = engine_pb2_grpc.EngineStub(grpc.insecure_channel(engine_address)) if engine_address else None

    def warn(urn: str, message: str) -> None:
        if engine is not None:
            engine.Log(engine_pb2.LogRequest(severity=engine_pb2.WARNING, urn=urn, message=message))

    serve(Provider(vendor, schema, world, warn))
