"""A stack on a Swarm: each part hardened as its container is, by the same policies, and what differs on purpose."""

import base64
from dataclasses import replace
from typing import Any

import pytest

from components.host.service import Health, ServiceArgs
from components.host.swarm import REMOVAL_SECONDS, refuse, short_duration
from components.host.volumes import STARTED_FOLDER
from components.settings import STACK_CHARACTERS, SWARM_DRAIN_MINUTES, Settings, SettingsError, parse
from policy.rules.containers import CONTAINER, NETWORK, SECRET, SERVICE, VOLUME
from tests.policy import pack
from tests.policy.pack import registered
from tests.support import program
from tests.support.program import Program, Registration, Secret, plain

URL = "postgresql://boss:correct-horse-battery@db.example.com:6432/defaultdb?sslmode=verify-full"
SHARE = "/mnt/skyvern"
SECTIONS: dict[str, dict[str, Any]] = {
    "database": {"url": URL},
    "edge": {"provider": "cloudflare", "domain": "example.com", "api_token": "t" * 40},
    "monitor": {"enabled": True, "channels": "tgram://123456789:AAAA/42"},
    "backup": {"type": "s3", "bucket": "acme-backup", "access_key_id": "AKIAEXAMPLE", "secret_access_key": "correct-horse"},
}
SECRETS = frozenset({"database.url", "edge.api_token", "monitor.channels", "backup.secret_access_key"})
TWICE = {"artifacts", "connector", "egress", "gateway"}


def settings(**changed: dict[str, Any]) -> Settings:
    return parse({**SECTIONS, **changed}, file="Pulumi.x.yaml", secret_keys=SECRETS)


@pytest.fixture(scope="module")
def containers() -> Program:
    return program.run(settings())


@pytest.fixture(scope="module")
def swarm() -> Program:
    return program.run(settings(host={"engine": "swarm", "shared_folder": SHARE}))


def service(run: Program, part: str) -> dict[str, Any]:
    (found,) = [one for one in run.of_type(SERVICE) if one.inputs["name"] == f"skyvern-dev-{part}"]
    return found.inputs


def container_of(run: Program, part: str) -> dict[str, Any]:
    """The container that tasks of a part are."""
    described: dict[str, Any] = service(run, part)["taskSpec"]["containerSpec"]
    return described


def parts(run: Program) -> list[str]:
    return [one.inputs["taskSpec"]["containerSpec"]["hostname"] for one in run.of_type(SERVICE)]


def test_each_part_but_the_firewall_is_a_service_as_hard_as_its_container(containers: Program, swarm: Program) -> None:
    assert not swarm.of_type(CONTAINER)
    assert {*parts(swarm), "firewall"} == {one.inputs["hostname"] for one in containers.of_type(CONTAINER)}
    for part in parts(swarm):
        container, described = containers.container(part).inputs, container_of(swarm, part)
        for key in ("image", "hostname", "user", "init", "readOnly"):
            assert described[key] == container[key], (part, key)
        assert described["capDrops"] == container["capabilities"]["drops"]
        for key in ("interval", "startPeriod", "timeout"):
            # The same time, as each of the provider's two resources spells it.
            assert described["healthcheck"][key] == container["healthcheck"][key].replace("m0s", "m")
        assert described["healthcheck"]["tests"][-1] == container["healthcheck"]["tests"][-1]
        assert described["stopGracePeriod"] == short_duration(int(container["stopTimeout"]) + REMOVAL_SECONDS)
        limits = service(swarm, part)["taskSpec"]["resources"]["limits"]
        assert limits["memoryBytes"] == int(container["memory"]) << 20
        # The backup has a weight in place of a limit, which no service has.
        assert limits["nanoCpus"] == round(float(container.get("cpus", 1)) * 1e9)
        # That it began it marks on a volume of its machine, which the monitor may not be on.
        folders = {one["containerPath"]: one["readOnly"] for one in container.get("volumes", [])}
        folders = {path: read_only for path, read_only in folders.items() if not path.startswith(STARTED_FOLDER)}
        assert {one["target"]: one["readOnly"] for one in described["mounts"] if one["type"] == "bind"} == folders
        in_memory = {one["target"] for one in described["mounts"] if one["type"] != "bind"}
        assert in_memory == {*container["tmpfs"], "/dev/shm"}  # noqa: S108


def test_no_policy_objects(swarm: Program) -> None:
    # Of any stack whose backup has just been made.
    assert [one.rule.name for one in pack.judge(registered(swarm), stack="dev")] == ["stack-restore-drilled"]


def test_a_login_that_is_missing_is_noticed(swarm: Program) -> None:
    resources = registered(swarm)
    (gateway,) = [one for one in resources if one.type == SERVICE and one.name.endswith("-gateway-caddy")]
    described = gateway.inputs["taskSpec"]["containerSpec"]
    kept = [one for one in described["secrets"] if not one["fileName"].endswith("/UI_LOGIN_SHA256")]
    assert len(kept) == len(described["secrets"]) - 1
    described["secrets"] = kept
    assert "stack-frontend-login-asked" in [one.rule.name for one in pack.judge(resources, stack="dev")]


def test_a_secret_is_a_file_and_in_no_environment(containers: Program, swarm: Program) -> None:
    made = {str(plain(one.inputs["name"])): one for one in swarm.of_type(SECRET)}
    for part in ("gateway", "monitor", "roles", "server"):
        secret = {key: plain(value) for key, value in containers.environment(part).items() if isinstance(value, Secret)}
        assert secret
        described = container_of(swarm, part)
        files = {one["fileName"].removeprefix("/run/secrets/"): one for one in described["secrets"]}
        assert secret.keys() <= files.keys()
        assert not files.keys() & described["env"].keys()
        assert described["commands"][:2] == ["sh", "-c"]
        assert described["args"]
        user = described["user"].partition(":")[0]
        assert {(one["fileUid"], one["fileMode"]) for one in files.values()} == {(user, 0o400)}
        for key, value in secret.items():
            assert value not in str(described)
            data = made[plain(files[key]["secretName"])].inputs["data"]
            assert isinstance(data, Secret)
            assert base64.b64decode(plain(data)).decode() == value
    assert all(name.startswith("skyvern-dev-") and len(name) <= 64 for name in made)


def test_the_longest_name_of_a_stack_fits_what_a_swarm_takes() -> None:
    made = program.run(settings(host={"engine": "swarm", "shared_folder": SHARE}), stack="s" * STACK_CHARACTERS)
    for kind, most in ((NETWORK, 63), (SECRET, 64), (SERVICE, 63)):
        assert max(len(str(plain(one.inputs["name"]))) for one in made.of_type(kind)) <= most, kind
    # And no shorter one is refused.
    assert max(len(str(plain(one.inputs["name"]))) for one in made.of_type(SECRET)) == 64


def test_a_stack_whose_name_a_swarm_does_not_take_is_refused() -> None:
    swarm = {"host": {"engine": "swarm", "shared_folder": SHARE}}

    def refused(stack: str, **sections: dict[str, Any]) -> list[str]:
        try:
            parse({**SECTIONS, **sections}, file=f"Pulumi.{stack}.yaml", secret_keys=SECRETS, stack=stack)
        except SettingsError as wrong:
            return wrong.lines
        return []

    assert refused("shop.example.com", **swarm) == [
        'Pulumi.shop.example.com.yaml: host.engine: "swarm" takes no period in the name of a stack; rename the file, for example '
        "to Pulumi.shop-example-com.yaml"
    ]
    assert refused("s" * 30, **swarm) == [
        f'Pulumi.{"s" * 30}.yaml: host.engine: "swarm" takes at most 29 characters in the name of a stack, and this one has 30; '
        f"rename the file, for example to Pulumi.{'s' * 29}.yaml"
    ]
    both = refused("s." * 20, **swarm)
    assert [line.rpartition(" ")[2] for line in both] == [f"Pulumi.{'s-' * 14}s.yaml"] * 2
    for stack in ("s" * 29, "Shop_1-a"):
        assert refused(stack, **swarm) == []
    assert refused(f"shop.example.{'s' * 30}") == []


def test_a_check_that_needs_a_secret_opens_it(swarm: Program) -> None:
    assert "/run/secrets" in container_of(swarm, "roles")["healthcheck"]["tests"][3]
    assert container_of(swarm, "server")["healthcheck"]["tests"] == ["CMD", "skyvern-healthy"]


def test_the_connector_has_no_shell_and_reads_the_file_itself(swarm: Program) -> None:
    described = container_of(swarm, "connector")
    assert described["commands"] == ["cloudflared", "--no-autoupdate"]
    assert described["args"] == ["tunnel", "run"]
    assert described["env"]["TUNNEL_TOKEN_FILE"] == "/run/secrets/TUNNEL_TOKEN"
    assert "TUNNEL_TOKEN" not in described["env"]


def test_names_of_secrets_follow_the_value_and_cannot_be_guessed_from_it(swarm: Program) -> None:
    """Another value is another name, because a secret of a Swarm never changes; a plain hash of a short one could be tried."""

    def named(run: Program) -> dict[str, str]:
        return {one.name: plain(one.inputs["name"]) for one in run.of_type(SECRET)}

    before, again = named(swarm), named(program.run(settings(host={"engine": "swarm", "shared_folder": SHARE})))
    # The mock draws the same passwords each time.
    assert before == again
    other = {**SECTIONS["monitor"], "channels": "tgram://123456789:BBBB/42"}
    after = named(program.run(settings(host={"engine": "swarm", "shared_folder": SHARE}, monitor=other)))
    assert {name for name in before if before[name] != after[name]} == {"skyvern-host-monitor-pages-CHANNELS"}


def test_updates_go_on_without_a_gap_and_back_by_the_engine(swarm: Program) -> None:
    for part in parts(swarm):
        made = service(swarm, part)
        assert made["mode"]["replicated"]["replicas"] == (2 if part in TWICE else 1)
        assert made["updateConfig"]["failureAction"] == "rollback"
        assert made["convergeConfig"]["timeout"]
        assert made["endpointSpec"] == {"mode": "dnsrr"}
    orders = {part: service(swarm, part)["updateConfig"]["order"] for part in parts(swarm)}
    # One process a database.
    assert orders["server"] == "stop-first"
    assert {orders[part] for part in (*TWICE, "monitor")} == {"start-first"}


def test_what_a_restart_does_not_cure_does_not_end_a_task(containers: Program, swarm: Program) -> None:
    """A backup is unhealthy when its newest set is old; a restart would end the one that it makes."""
    assert containers.container("backup").inputs["healthcheck"]["retries"] == 3
    assert container_of(swarm, "backup")["healthcheck"]["retries"] > 1000
    assert container_of(swarm, "server")["healthcheck"]["retries"] == 4


def test_networks_join_the_machines(containers: Program, swarm: Program) -> None:
    def made(run: Program) -> dict[str, Registration]:
        return {one.inputs["name"].removeprefix("skyvern-dev-"): one for one in run.of_type(NETWORK)}

    bridges, overlays = made(containers), made(swarm)
    # Nothing on a Swarm is without a network.
    assert overlays.keys() - bridges.keys() == {"retention"}
    for name, network in overlays.items():
        assert network.inputs["driver"] == "overlay"
        assert "encrypted" not in network.inputs.get("options", {})
        assert network.inputs["internal"] == (bridges[name].inputs["internal"] if name in bridges else True)
    joined = [one["aliases"] for one in service(swarm, "retention")["taskSpec"]["networksAdvanceds"]]
    assert joined == [["retention"]]
    asked = made(program.run(settings(host={"engine": "swarm", "shared_folder": SHARE, "encrypted": True})))
    assert {one.inputs["options"]["encrypted"] for one in asked.values()} == {"true"}


def test_data_is_in_the_folder_of_all_machines(swarm: Program) -> None:
    assert not swarm.of_type(VOLUME)
    sources = {one["source"] for part in parts(swarm) for one in container_of(swarm, part)["mounts"] if one["type"] == "bind"}
    assert f"{SHARE}/skyvern-dev/credential-vault" in sources
    assert f"{SHARE}/skyvern-dev/backup" in sources
    assert all(source.startswith(f"{SHARE}/skyvern-dev/") for source in sources)


def test_the_server_may_start_programs_from_its_tmp(swarm: Program) -> None:
    (temporary,) = [one for one in container_of(swarm, "server")["mounts"] if one["target"] == "/tmp"]  # noqa: S108
    assert temporary["type"] == "volume"
    # Without a name: it goes with its task.
    assert not temporary["source"]
    options = temporary["volumeOptions"]["driverOptions"]
    assert options["type"] == "tmpfs"
    assert "size=1024m" in options["o"]
    assert "noexec" not in options["o"]


def test_what_a_swarm_cannot_give_is_refused() -> None:
    health = Health(command=["true"], start_seconds=1)
    args = ServiceArgs(
        part="x", prefix="skyvern-dev", image="x", user="1:1", health=health, networks=["a"], memory_mib=64, cpus=0.5
    )
    refuse(args)
    asked: list[dict[str, Any]] = [{"gpu": True}, {"published_port": (1, 2)}, {"filters_packets": True}, {"networks": []}]
    for one in asked:
        with pytest.raises(ValueError, match="x: a service of a Swarm cannot have "):
            refuse(replace(args, **one))


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"host": {"engine": "swarm"}}, "host.engine: .* write host.shared_folder"),
        ({"database": {}}, r"host.engine: .* set database.url"),
        ({"edge": {"provider": "none"}}, "host.engine: .* write edge.provider: cloudflare or ngrok"),
        ({"browser": {"type": "cdp-connect", "url": "http://192.168.1.5:9222", "proxy_port": 3128}}, "browser.type: .*headless"),
        ({"llm": {"provider": "ollama", "model": "qwen2.5:7b-instruct"}}, "llm.provider: .*openai-compatible"),
        (
            {"server": {"drain_minutes": 16}},
            'server.drain_minutes: 16 .* 20 minutes .* host.engine: "swarm", .*; write 15 or less$',
        ),
        ({"host": {"shared_folder": SHARE}}, "host.shared_folder: .*write engine: swarm"),
        ({"host": {"encrypted": True}}, "host.encrypted: .*write engine: swarm"),
        ({"host": {"engine": "swarm", "shared_folder": "/tmp/x"}}, "host.shared_folder: .*write a separate folder"),  # noqa: S108
        ({"host": {"engine": "podman"}}, "host.engine: .*'docker' or 'swarm'"),
    ],
)
def test_what_does_not_go_together_is_one_line(changed: dict[str, Any], line: str) -> None:
    given = {"host": {"engine": "swarm", "shared_folder": SHARE}, **changed}
    with pytest.raises(SettingsError, match=f"^Pulumi.x.yaml: {line}") as refused:
        settings(**given)
    assert len(refused.value.lines) == 1


def test_the_longest_drain_is_taken() -> None:
    longest = settings(host={"engine": "swarm", "shared_folder": SHARE}, server={"drain_minutes": SWARM_DRAIN_MINUTES})
    assert longest.server.drain_minutes == 15
    # On plain Docker, the provider's own limit is the time that is asked for.
    assert settings(server={"drain_minutes": 120}).server.drain_minutes == 120


@pytest.mark.parametrize(("seconds", "text"), [(5, "5s"), (60, "1m"), (61, "1m1s"), (600, "10m"), (3600, "1h"), (3660, "1h1m")])
def test_durations_are_spelled_as_the_provider_reads_them_back(seconds: int, text: str) -> None:
    # Seen with the real provider: "1m0s" came back as "1m", and each plan changed it.
    assert short_duration(seconds) == text
