"""Field tables by reflection, and that the rules of the stand-ins speak of fields that the SDKs have."""

import warnings
from typing import Any

import pulumi_random
import pytest

from lab.standins.providers import cloudflare
from lab.standins.providers.install import schema_of
from lab.standins.providers.schema import Failure, Resource, Schema, failures, reflect
from lab.standins.providers.vendor import Kind
from lab.standins.providers.wire import UNKNOWN


@pytest.fixture(scope="module")
def schema() -> Schema:
    return schema_of("cloudflare")


def resource_of(schema: Schema, kind: Kind) -> Resource:
    return next(resource for token, resource in schema.resources.items() if token.endswith(f":{kind.resource}"))


def test_names_are_those_on_the_wire(schema: Schema) -> None:
    config = schema.resources["cloudflare:index/zeroTrustTunnelCloudflaredConfig:ZeroTrustTunnelCloudflaredConfig"]
    shape = config.inputs["config"].shape
    assert set(shape.fields) == {"ingresses", "originRequest"}
    rule = shape.fields["ingresses"].shape.item
    assert rule is not None
    assert rule.fields["service"].required
    assert not rule.fields["hostname"].required
    assert rule.fields["originRequest"].shape.fields["matchSnItoHost"].shape.kind == "bool"
    assert rule.fields["originRequest"].shape.fields["connectTimeout"].shape.kind == "int"


def test_required_secret_and_permissions(schema: Schema) -> None:
    tunnel = schema.resources["cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared"]
    assert {name for name, field in tunnel.inputs.items() if field.required} == {"accountId", "name"}
    assert tunnel.secrets == {"tunnelSecret"}
    assert "accountTag" in tunnel.outputs
    assert "Cloudflare Tunnel Write" in tunnel.permissions
    assert schema.resources["cloudflare:index/zoneSetting:ZoneSetting"].inputs["value"].shape.kind == "any"
    zone = schema.functions["cloudflare:index/getZone:getZone"]
    assert set(zone.inputs) == {"filter", "zoneId"}
    assert "account" in zone.outputs


def test_another_sdk_with_a_map_and_secrets() -> None:
    random = reflect(pulumi_random, ["RandomPassword"], [])
    password = random.resources["random:index/randomPassword:RandomPassword"]
    keepers = password.inputs["keepers"].shape
    assert keepers.kind == "map"
    assert keepers.item is not None
    assert keepers.item.kind == "str"
    assert password.secrets == {"bcryptHash", "result"}
    assert password.permissions == frozenset()


def test_vercel_is_read_as_well() -> None:
    # The next stand-in: its SDK has batches, maps of files and look-ups of the same making.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import pulumiverse_vercel
    vercel = reflect(
        pulumiverse_vercel,
        ["Project", "ProjectDomain", "ProjectEnvironmentVariable", "Deployment"],
        ["get_domain_config", "get_project_directory"],
    )
    variable = vercel.resources["vercel:index/projectEnvironmentVariable:ProjectEnvironmentVariable"]
    assert {name for name, field in variable.inputs.items() if field.required} == {"key", "projectId", "sensitive"}
    assert "value" in variable.secrets
    assert vercel.resources["vercel:index/deployment:Deployment"].inputs["files"].shape.kind == "map"
    assert vercel.version == "5.21.1"


def test_a_name_that_the_sdk_has_not() -> None:
    with pytest.raises(LookupError, match="pulumi_random has no RandomNonsense"):
        reflect(pulumi_random, ["RandomNonsense"], [])


def test_a_schema_survives_its_file(schema: Schema) -> None:
    assert Schema.model_validate_json(schema.model_dump_json()) == schema


@pytest.mark.parametrize("kind", cloudflare.VENDOR.kinds, ids=lambda kind: kind.resource)
def test_rules_speak_of_what_the_sdk_has(schema: Schema, kind: Kind) -> None:
    resource = resource_of(schema, kind)
    assert kind.replaces <= set(resource.inputs)
    assert set(kind.defaults) <= set(resource.inputs)
    assert kind.computed <= set(resource.inputs) & set(resource.outputs)
    assert kind.unread <= set(resource.outputs)
    assert failures(resource.outputs, kind.defaults) == []


RULESET = "cloudflare:index/ruleset:Ruleset"
GOOD: dict[str, Any] = {
    "kind": "zone",
    "name": "a",
    "phase": "http_ratelimit",
    "rules": [{"action": "block", "expression": "true", "ratelimit": {"characteristics": ["ip.src"], "period": 10.0}}],
}


def test_a_good_value_passes(schema: Schema) -> None:
    assert failures(schema.resources[RULESET].inputs, GOOD) == []


@pytest.mark.parametrize("unknown", ["kind", "rules"])
def test_unknown_values_pass_everywhere(schema: Schema, unknown: str) -> None:
    assert failures(schema.resources[RULESET].inputs, {**GOOD, unknown: UNKNOWN}) == []


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"nmae": "a"}, ("nmae", "is not a known property")),
        ({"name": None}, ("name", "is required")),
        ({"name": 3.0}, ("name", "is a number, but str is expected")),
        ({"name": True}, ("name", "is bool, but str is expected")),
        ({"rules": {"action": "block"}}, ("rules", "is object, but list is expected")),
        ({"rules": ["block"]}, ("rules[0]", "is str, but object is expected")),
        ({"rules": [{"action": "block"}]}, ("rules[0].expression", "is required")),
        ({"rules": [{**GOOD["rules"][0], "enabled": "on"}]}, ("rules[0].enabled", "is str, but bool is expected")),
        (
            {"rules": [{**GOOD["rules"][0], "ratelimit": {"characteristics": [1.0], "period": 10}}]},
            ("rules[0].ratelimit.characteristics[0]", "is a number, but str is expected"),
        ),
        (
            {"rules": [{**GOOD["rules"][0], "ratelimit": {"characteristics": [], "period": 10.5}}]},
            ("rules[0].ratelimit.period", "is a number, but int is expected"),
        ),
    ],
)
def test_a_wrong_value_is_named(schema: Schema, changed: dict[str, Any], expected: tuple[str, str]) -> None:
    (found,) = failures(schema.resources[RULESET].inputs, {**GOOD, **changed})
    assert isinstance(found, Failure)
    assert found.path == expected[0]
    assert found.reason.startswith(expected[1])
