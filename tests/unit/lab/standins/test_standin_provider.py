"""Plans: what is a change, what replaces, what is unknown."""

import json
from pathlib import Path
from typing import Any

import pytest
from pulumi.runtime.proto import provider_pb2

from lab.standins.providers import World, cloudflare
from lab.standins.providers.install import schema_of
from lab.standins.providers.provider import Provider, differences, plan
from lab.standins.providers.wire import UNKNOWN, Secret, sealed
from tests.support.standins import Aborted, Context, decoded, struct

RECORD = "cloudflare:index/dnsRecord:DnsRecord"
TUNNEL = "cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared"


@pytest.mark.parametrize(
    ("new", "state", "before", "expected"),
    [
        ({"a": 1}, {"a": 1.0, "computed": 2}, {"a": 1}, {}),
        ({"a": 2}, {"a": 1}, {"a": 1}, {"a": "update"}),
        # Drift: the inputs are the old ones, the state is not.
        ({"a": 1}, {"a": 3}, {"a": 1}, {"a": "update"}),
        ({"a": 1}, {}, {"a": 1}, {"a": "add"}),
        ({}, {"a": 1}, {"a": 1}, {"a": "delete"}),
        # Never given: the API's own.
        ({}, {"a": 1}, {}, {}),
        ({"a": UNKNOWN}, {"a": 1}, {"a": 1}, {"a": "update"}),
        ({"a": {"b": 1}}, {"a": {"b": 1, "more": 2}}, {"a": {"b": 1}}, {}),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2, "id": 1}]}, {"a": [{"b": 2}]}, {"a[0].b": "update"}),
        ({"a": [1, 2]}, {"a": [1]}, {"a": [1]}, {"a[1]": "add"}),
        # One more than given is somebody's addition.
        ({"a": [1]}, {"a": [1, 2]}, {"a": [1]}, {"a[1]": "delete"}),
    ],
)
def test_differences(new: Any, state: Any, before: Any, expected: dict[str, str]) -> None:
    assert dict(differences(new, state, before)) == expected


@pytest.fixture
def world(tmp_path: Path) -> World:
    return cloudflare.new_world(tmp_path / "world.json")


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def provider(world: World, warnings: list[str]) -> Provider:
    provider = Provider(cloudflare.VENDOR, schema_of("cloudflare"), world, lambda urn, message: warnings.append(message))
    provider.Configure(provider_pb2.ConfigureRequest(args=struct({"apiToken": sealed(cloudflare.TOKEN)})), Context())
    return provider


def tunnel_inputs(world: World, **more: Any) -> dict[str, Any]:
    (account,) = world.read()["accounts"]
    return {"accountId": account, "name": "skyvern", "configSrc": "cloudflare", **more}


def create(provider: Provider, type_: str, inputs: dict[str, Any], *, preview: bool = False) -> Any:
    return provider.Create(
        provider_pb2.CreateRequest(type=type_, name="one", properties=struct(inputs), preview=preview), Context()
    )


def test_a_preview_knows_inputs_and_defaults_and_calls_nothing(provider: Provider, world: World) -> None:
    outputs = decoded(
        create(provider, RECORD, {"zoneId": UNKNOWN, "name": "a.example.com", "type": "A", "ttl": 1}, preview=True).properties
    )
    assert outputs["name"] == "a.example.com"
    assert outputs["proxied"] is False
    assert outputs["createdOn"] == UNKNOWN
    assert outputs["tags"] == UNKNOWN
    # Not given, not computed: there is none.
    assert "comment" not in outputs
    assert world.journal() == []


def test_the_id_stays_known_in_the_preview_of_an_update(provider: Provider) -> None:
    resource = provider.schema.resources[TUNNEL]
    outputs = plan(provider.kinds[TUNNEL], resource, {"name": "new"}, {"id": "1"})
    assert outputs["id"] == "1"
    assert outputs["accountTag"] == UNKNOWN


def test_secrets_come_back_as_secrets_and_only_as_hashes_to_the_journal(provider: Provider, world: World) -> None:
    secret = "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA="
    response = create(provider, TUNNEL, tunnel_inputs(world, tunnelSecret=sealed(secret), name=sealed("hidden")))
    outputs = decoded(response.properties)
    # By the SDK's mark, and by the program's.
    assert outputs["tunnelSecret"] == Secret(secret)
    assert outputs["name"] == Secret("hidden")
    assert outputs["configSrc"] == "cloudflare"
    assert secret not in json.dumps(world.journal())
    assert "hidden" not in json.dumps(world.journal())

    # The API never tells the secret again, so a refresh keeps the state's.
    request = provider_pb2.ReadRequest(type=TUNNEL, id=response.id, properties=response.properties)
    assert decoded(provider.Read(request, Context()).properties)["tunnelSecret"] == Secret(secret)


def test_a_change_of_a_replacing_field_replaces_and_deletion_does_not_come_first(provider: Provider) -> None:
    old = {"zoneId": "1", "type": "A", "name": "a.example.com", "content": "192.0.2.1", "proxied": False, "ttl": 1}
    new = {**old, "type": "CNAME", "content": "b.example.com"}
    request = provider_pb2.DiffRequest(type=RECORD, olds=struct(old), news=struct(new), old_inputs=struct(old))
    answer = provider.Diff(request, Context())
    assert answer.changes == provider_pb2.DiffResponse.DIFF_SOME
    assert list(answer.replaces) == ["type"]
    assert not answer.deleteBeforeReplace
    assert answer.detailedDiff["type"].kind == provider_pb2.PropertyDiff.UPDATE_REPLACE
    assert answer.detailedDiff["content"].kind == provider_pb2.PropertyDiff.UPDATE

    request.news.CopyFrom(struct({**old, "content": "192.0.2.2"}))
    request.ignoreChanges.append("content")
    assert provider.Diff(request, Context()).changes == provider_pb2.DiffResponse.DIFF_NONE


def test_a_property_with_a_default_is_held_to_it(provider: Provider) -> None:
    given = {"zoneId": "1", "type": "A", "name": "a.example.com", "content": "192.0.2.1", "ttl": 1}
    changed = struct({**given, "proxied": True})
    # Removed by the program, and never given but changed by somebody else.
    for before in (changed, struct(given)):
        request = provider_pb2.DiffRequest(type=RECORD, olds=changed, news=struct(given), old_inputs=before)
        assert list(provider.Diff(request, Context()).diffs) == ["proxied"]


def test_an_import_finds_the_inputs(provider: Provider, world: World) -> None:
    response = create(provider, TUNNEL, tunnel_inputs(world))
    (account,) = world.read()["accounts"]
    read = provider.Read(provider_pb2.ReadRequest(type=TUNNEL, id=f"{account}/{response.id}"), Context())
    assert read.id == response.id
    assert decoded(read.inputs) == tunnel_inputs(world)


def test_what_is_gone_is_read_as_nothing(provider: Provider, world: World) -> None:
    response = create(provider, TUNNEL, tunnel_inputs(world))
    with world.edit() as data:
        data["tunnels"].clear()
    read = provider.Read(provider_pb2.ReadRequest(type=TUNNEL, id=response.id, properties=response.properties), Context())
    assert read.id == ""
    # But a deletion of it is an error, as upstream has it.
    request = provider_pb2.DeleteRequest(type=TUNNEL, id=response.id, properties=response.properties)
    with pytest.raises(Aborted, match="404 Not Found"):
        provider.Delete(request, Context())


def test_a_failed_call_leaves_nothing_unless_it_was_done(provider: Provider, world: World) -> None:
    world.fail(call=1, status=503, code=10001)
    with pytest.raises(Aborted, match="503"):
        create(provider, TUNNEL, tunnel_inputs(world))
    assert world.read()["tunnels"] == {}
    world.fail(call=1, done=True)
    with pytest.raises(Aborted):
        create(provider, TUNNEL, tunnel_inputs(world))
    assert len(world.read()["tunnels"]) == 1
    with pytest.raises(Aborted, match="1013"):
        create(provider, TUNNEL, tunnel_inputs(world))
    assert [entry.get("error") for entry in world.journal()] == [10001, 10001, 1013]
    assert [entry["call"] for entry in world.journal()] == [1, 2, 3]


def test_a_refused_call_changes_nothing(provider: Provider, world: World) -> None:
    response = create(provider, TUNNEL, tunnel_inputs(world))
    news = struct({**tunnel_inputs(world), "name": "new", "tunnelSecret": "short"})
    request = provider_pb2.UpdateRequest(type=TUNNEL, id=response.id, olds=response.properties, news=news)
    with pytest.raises(Aborted, match="at least 32 bytes"):
        provider.Update(request, Context())
    assert world.read()["tunnels"][response.id]["name"] == "skyvern"


def test_a_deletion_without_a_call_warns_and_leaves_the_thing(provider: Provider, world: World, warnings: list[str]) -> None:
    (zone,) = world.read()["zones"]
    type_ = "cloudflare:index/zoneSetting:ZoneSetting"
    response = create(provider, type_, {"zoneId": zone, "settingId": "always_use_https", "value": "on"})
    provider.Delete(provider_pb2.DeleteRequest(type=type_, id=response.id, properties=response.properties), Context())
    assert world.read()["zones"][zone]["settings"]["always_use_https"] == "on"
    assert len(warnings) == 1
    assert "call" not in world.journal("delete")[0]


def test_a_token_that_cannot_be_one_is_refused_before_any_call(provider: Provider) -> None:
    request = provider_pb2.CheckRequest(news=struct({"apiToken": "short", "version": "6.23.1"}))
    (failure,) = provider.CheckConfig(request, Context()).failures
    assert failure.property == "apiToken"
    request.news.update({"apiToken": cloudflare.TOKEN})
    assert not provider.CheckConfig(request, Context()).failures


def test_what_the_standin_does_not_know_is_named(provider: Provider) -> None:
    with pytest.raises(Aborted, match="cloudflare:index/list:List: the stand-in does not know this resource type"):
        create(provider, "cloudflare:index/list:List", {})
    with pytest.raises(Aborted, match="getList: the stand-in does not know this function"):
        provider.Invoke(provider_pb2.InvokeRequest(tok="cloudflare:index/getList:getList"), Context())
