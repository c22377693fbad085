"""What a stack with Ollama registers beside everything else, and that nothing else changes."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from components.host import images
from components.settings import OllamaLlm, Settings
from tests.support import program
from tests.support.program import Program, plain

CONTAINER = "docker:index/container:Container"
LLM = {"provider": "ollama", "model": "qwen2.5:7b-instruct", "context_length": 8192, "keep_alive": "-1", "memory_mib": 6000}


def build(**changes: Any) -> Program:
    return program.run(Settings.model_validate({"llm": {**LLM, **changes}}))


@pytest.fixture(scope="module")
def ollama() -> Program:
    return build()


@pytest.fixture(scope="module")
def without() -> Program:
    return program.run(Settings())


def networks(run: Program, part: str) -> set[str]:
    return {one["name"].removeprefix("skyvern-dev-") for one in run.container(part).inputs.get("networksAdvanced", [])}


def test_a_stack_without_it_has_none_of_it_and_one_with_it_changes_the_server_and_what_guards_it(
    ollama: Program, without: Program
) -> None:
    def by_urn(run: Program) -> dict[str, Any]:
        return {one.urn: one.inputs for one in run.registrations}

    before, after = by_urn(without), by_urn(ollama)
    assert before.keys() <= after.keys()
    assert {urn.split("::")[-1] for urn in before if before[urn] != after[urn]} == {
        "skyvern-host-firewall-nft",
        "skyvern-host-skyvern-server",
    }
    assert {urn.split("::")[-1] for urn in after.keys() - before.keys()} == {
        "skyvern-host-ollama",
        "skyvern-host-ollama-llm",
        "skyvern-host-ollama-models",
        "skyvern-host-ollama-pull",
        "skyvern-host-ollama-server",
    }


def test_skyvern_alone_reaches_the_server_and_nobody_the_pull_container(ollama: Program) -> None:
    parts = [one.inputs["hostname"] for one in ollama.of_type(CONTAINER)]
    assert {part for part in parts if "llm" in networks(ollama, part)} == {"server", "ollama"}
    assert {part for part in parts if "models" in networks(ollama, part)} == {"ollama-pull"}
    assert networks(ollama, "ollama") == {"llm"}
    internal = {one.inputs["name"]: one.inputs["internal"] for one in ollama.of_type("docker:index/network:Network")}
    assert internal["skyvern-dev-llm"] is True
    assert internal["skyvern-dev-models"] is False
    assert not [part for part in ("ollama", "ollama-pull") if ollama.container(part).inputs.get("ports")]


@pytest.mark.parametrize("part", ["ollama", "ollama-pull"])
def test_both_containers_are_hardened(ollama: Program, part: str) -> None:
    sent = ollama.container(part).inputs
    assert sent["readOnly"] is True
    assert sent["capabilities"] == {"drops": ["ALL"]}
    assert sent["user"] == "10004:10004"
    assert sent["image"] == images.references("official")["llm"]
    assert "gpus" not in sent
    assert not any(isinstance(element, program.Secret) for element in sent["envs"])


def test_the_models_have_one_writer_and_are_no_data(ollama: Program) -> None:
    mounts = {
        part: [
            (mount["volumeName"], mount["containerPath"], mount["readOnly"]) for mount in ollama.container(part).inputs["volumes"]
        ]
        for part in ("ollama", "ollama-pull")
    }
    assert mounts == {
        "ollama": [("skyvern-dev-models", "/models", True)],
        "ollama-pull": [("skyvern-dev-models", "/models", False)],
    }
    (volume,) = [one for one in ollama.of_type("docker:index/volume:Volume") if one.inputs["name"] == "skyvern-dev-models"]
    assert not volume.protect, "they can be pulled again"


def test_settings_reach_the_server(ollama: Program) -> None:
    assert ollama.environment("ollama") == {
        "OLLAMA_CONTEXT_LENGTH": "8192",
        "OLLAMA_KEEP_ALIVE": "-1",
        "OLLAMA_NUM_PARALLEL": "1",
    }
    pull = ollama.environment("ollama-pull")
    assert pull["OLLAMA_MODEL"] == "qwen2.5:7b-instruct"
    assert pull["OLLAMA_HOST"] == "127.0.0.1:11434"
    assert ollama.container("ollama").inputs["memory"] == 6000
    assert ollama.environment("server")["OLLAMA_SUPPORTS_VISION"] == "false"
    assert build(vision=True).environment("server")["OLLAMA_SUPPORTS_VISION"] == "true"


def test_the_gpu_goes_to_the_server_alone() -> None:
    run = build(gpu=True)
    assert {one.inputs["hostname"]: one.inputs["gpus"] for one in run.of_type(CONTAINER) if "gpus" in one.inputs} == {
        "ollama": "all"
    }


def test_nothing_waits_for_the_model(ollama: Program) -> None:
    pull = ollama.container("ollama-pull")
    assert not [one.name for one in ollama.registrations if pull.urn in one.dependencies]
    # Neither health check asks whether the model is there.
    assert pull.inputs["healthcheck"]["tests"] == ["CMD", "test", "-e", "/tmp/first-try-over"]  # noqa: S108
    assert ollama.container("ollama").inputs["healthcheck"]["tests"] == ["CMD", "ollama", "list"]
    assert pull.inputs["waitTimeout"] > int(ollama.environment("ollama-pull")["FIRST_TRY_SECONDS"])


def test_its_containers_are_exported(ollama: Program, without: Program) -> None:
    extra = plain(ollama.outputs["containers"]).keys() - plain(without.outputs["containers"]).keys()
    assert extra == {"ollama", "ollama-pull"}


def test_the_defaults_are_the_documented_ones() -> None:
    llm = OllamaLlm(provider="ollama", model="llama3.2:3b")
    assert (llm.context_length, llm.keep_alive, llm.gpu) == (16384, "30m", False)


# --- The script of the pull container ------------------------------------------------------------------------------------

OLLAMA_DOUBLE = """#!/bin/bash
# A double of the ollama command: what is in $STATE/there is there.
case "$1" in
  serve) exec sleep 30 ;;
  list) exit 0 ;;
  show) grep -qx "$2" "$STATE/there" 2>/dev/null ;;
  pull)
    echo pull >> "$STATE/calls"
    [[ -e $STATE/slow ]] && sleep 30
    if [[ -e $STATE/offline ]]; then
      printf 'pulling manifest \r\033[?25hError: dial tcp: lookup registry.ollama.ai: no such host\n' >&2
      exit 1
    fi
    echo "$2" >> "$STATE/there"
    ;;
esac
"""


def run_pull(folder: Path, *, seconds: float, first_try_seconds: int = 600) -> tuple[list[str], bool]:
    """Lines of the script within ``seconds``, and whether its health check would be green by then."""
    script = (images.ROOT / "images/llm/ollama-pull").read_text().replace("/tmp/", f"{folder}/")  # noqa: S108
    (folder / "ollama-pull").write_text(script.replace("delay=60", "delay=1"))
    double = folder / "ollama"
    double.write_text(OLLAMA_DOUBLE)
    double.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "STATE": str(folder),
        "OLLAMA_MODEL": "m:1b",
        "FIRST_TRY_SECONDS": str(first_try_seconds),
    }
    done = subprocess.run(
        ["timeout", str(seconds), "bash", folder / "ollama-pull"], env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout.splitlines(), (folder / "first-try-over").exists()


def test_a_pull_that_works_says_so_and_is_healthy(tmp_path: Path) -> None:
    lines, healthy = run_pull(tmp_path, seconds=3)
    assert lines == ["ollama-pull: pulling m:1b", "ollama-pull: m:1b is there"]
    assert healthy


def test_a_model_that_is_there_is_not_pulled(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("m:1b\n")
    lines, healthy = run_pull(tmp_path, seconds=2)
    assert lines == ["ollama-pull: m:1b is there"]
    assert healthy
    assert not (tmp_path / "calls").exists()


def test_a_failed_pull_is_one_line_is_healthy_and_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "offline").touch()
    lines, healthy = run_pull(tmp_path, seconds=4)
    assert healthy
    assert lines[:3] == [
        "ollama-pull: pulling m:1b",
        "ollama-pull: m:1b is missing, AI steps fail until it is there; next try in 1 s; "
        "Error: dial tcp: lookup registry.ollama.ai: no such host",
        "ollama-pull: pulling m:1b",
    ]


def test_a_first_try_that_takes_too_long_goes_on_alone(tmp_path: Path) -> None:
    (tmp_path / "slow").touch()
    lines, healthy = run_pull(tmp_path, seconds=4, first_try_seconds=2)
    assert lines == ["ollama-pull: pulling m:1b"]
    assert healthy
    (tmp_path / "first-try-over").unlink()
    assert run_pull(tmp_path, seconds=4) == (lines, False)
