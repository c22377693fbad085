"""Pulumi's language host for Python programs and policy packs, for a CLI that was built from Go modules.

The published host is not in any package registry that serves the CLI's modules, so this one speaks the same protocol
(``pulumirpc.LanguageRuntime``, stubs from the pulumi wheel) for what a Python project needs: up, preview, refresh, destroy,
``--policy-pack``, ``pulumi about``. A program is started through Pulumi's own ``pulumi-language-python-exec``, so tracebacks,
``RunError`` and exit codes are the SDK's. Not here: code generation, debuggers, type checkers, providers written in Python.

Usage: ``python language_host.py EXEC_SCRIPT [FLAGS] ENGINE_ADDRESS``; prints its port and serves until its standard input ends.
"""

import os

# Programs are started with threads of gRPC running; nothing of it is used in the child.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"

import importlib.metadata
import importlib.util
import json
import queue
import re
import shutil
import signal
import site
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import grpc  # type: ignore[import-untyped]
from google.protobuf import empty_pb2, json_format

if __name__ == "__main__":
    # The stubs alone: to load the SDK around them takes as long as all the rest of a start (0.1 of 0.2 s, measured).
    for package in ("pulumi", "pulumi.runtime"):
        if spec := importlib.util.find_spec(package):
            sys.modules[package] = importlib.util.module_from_spec(spec)

from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

# The exec script's own exit code for "the user has seen an error": the engine must not add one (sdk/v3, python/cmd).
EXIT_USER_HAS_SEEN_ERROR = 32


class Unusable(Exception):
    """The project asks for a Python that is not there; told in one line."""


@dataclass(frozen=True)
class Environment:
    """The Python that runs a program: its virtual environment's, or the one on PATH."""

    virtualenv: Path | None

    @staticmethod
    def of(root: Path, options: Mapping[str, Any]) -> "Environment":
        """From ``runtime.options`` of Pulumi.yaml or PulumiPolicy.yaml in ``root``; Unusable when it does not exist."""
        name = options.get("virtualenv") or (".venv" if options.get("toolchain") == "uv" else None)
        if not name:
            return Environment(None)
        folder = root / str(name)
        if not (folder / "bin" / "python").exists():
            raise Unusable(f'{folder}: runtime option "virtualenv" names no virtual environment; run script/bootstrap')
        return Environment(folder)

    @property
    def python(self) -> str:
        if self.virtualenv:
            return str(self.virtualenv / "bin" / "python")
        return os.environ.get("PULUMI_PYTHON_CMD") or shutil.which("python3") or sys.executable

    @property
    def site_packages(self) -> list[Path]:
        """Folders of installed distributions."""
        if self.virtualenv:
            return sorted(self.virtualenv.glob("lib/python3.*/site-packages"))
        return [Path(folder) for folder in site.getsitepackages()]

    def variables(self, base: Mapping[str, str]) -> dict[str, str]:
        """``base`` as an activated virtual environment has it."""
        variables = dict(base)
        if self.virtualenv:
            variables["VIRTUAL_ENV"] = str(self.virtualenv)
            variables["PATH"] = os.pathsep.join([str(self.virtualenv / "bin"), variables.get("PATH", os.defpath)])
            variables.pop("PYTHONHOME", None)
        return variables


@dataclass(frozen=True)
class Plugin:
    """A provider plugin as a package's ``pulumi-plugin.json`` names it; ``server`` is "" where Pulumi serves it."""

    name: str
    version: str
    server: str


def required_plugins(site_packages: Iterable[Path], installed: Iterable[str]) -> list[Plugin]:
    """Provider plugins that the engine may look for before the program runs: declared by a package and installed.

    The published host names the plugin of every installed package, and the engine tries to download what is missing; a stack
    without Cloudflare or Vercel would wait for hosts that it does not need and may not reach. What is left out here is looked
    for when the first resource of that provider is registered, with the version that its SDK sends, as the engine does for
    any plugin; a missing one is then an error that names it.

    site_packages: folders whose packages carry a ``pulumi-plugin.json``. installed: folder names below
    ``PULUMI_HOME/plugins``, such as ``resource-docker-v5.2.0``.
    """
    present = set(installed)
    found = []
    for declaration in sorted(path for folder in site_packages for path in folder.glob("*/pulumi-plugin.json")):
        plugin = json.loads(declaration.read_text())
        if not plugin.get("resource"):
            continue
        name = plugin.get("name") or declaration.parent.name.removeprefix("pulumi_").replace("_", "-")
        version = str(plugin.get("version", "")).removeprefix("v")
        if f"resource-{name}-v{version}" in present:
            found.append(Plugin(name, version, plugin.get("server", "")))
    return found


def installed_plugins(variables: Mapping[str, str]) -> list[str]:
    """Folder names of the plugins in PULUMI_HOME (``~/.pulumi`` by default)."""
    home = Path(variables.get("PULUMI_HOME") or Path.home() / ".pulumi")
    return sorted(entry.name for entry in (home / "plugins").glob("resource-*") if entry.is_dir())


def run_arguments(request: language_pb2.RunRequest, engine_address: str) -> list[str]:
    """Arguments of the exec script for one run of a program."""
    options = {
        "monitor": request.monitor_address,
        "engine": engine_address,
        "project": request.project,
        "root_directory": request.info.root_directory,
        "stack": request.stack,
        "pwd": request.pwd,
        "dry_run": "true" if request.dryRun else "false",
        "parallel": str(request.parallel),
        "organization": request.organization,
    }
    arguments = [part for key, value in options.items() if value for part in (f"--{key}", value)]
    entry_point = request.info.entry_point or request.program or "."
    return [*arguments, str(Path(request.info.program_directory) / entry_point), *request.args]


def run_variables(request: language_pb2.RunRequest, base: Mapping[str, str]) -> dict[str, str]:
    """``base`` plus the stack's configuration, which the SDK reads from its environment: secrets stay out of argv."""
    return {
        **base,
        "PULUMI_CONFIG": json.dumps(dict(request.config)),
        "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(request.configSecretKeys)),
    }


def run_response(exit_code: int) -> language_pb2.RunResponse:
    """What the engine is told about a program that ended: nothing, "it has said why itself", or its exit code."""
    if exit_code == 0:
        return language_pb2.RunResponse()
    if exit_code == EXIT_USER_HAS_SEEN_ERROR:
        return language_pb2.RunResponse(bail=True)
    if exit_code < 0:
        return language_pb2.RunResponse(error=f"Program was stopped by signal {-exit_code}")
    return language_pb2.RunResponse(error=f"Program exited with non-zero exit code: {exit_code}")


def dependencies(site_packages: Sequence[Path], transitive: bool) -> dict[str, str]:
    """Installed distributions and their versions; without ``transitive`` those that no other one requires."""
    installed = list(importlib.metadata.distributions(path=[str(folder) for folder in site_packages]))
    versions = {_normal(distribution.name): distribution.version for distribution in installed}
    if not transitive:
        for distribution in installed:
            for requirement in distribution.requires or []:
                if "extra ==" not in requirement:
                    versions.pop(_normal(re.split(r"[^\w.-]", requirement, maxsplit=1)[0]), None)
    return dict(sorted(versions.items()))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


class LanguageHost(language_pb2_grpc.LanguageRuntimeServicer):
    """Serves one engine, at ``engine_address``."""

    def __init__(self, exec_script: Path, engine_address: str) -> None:
        self.exec_script = exec_script
        self.engine_address = engine_address
        self.running: set[subprocess.Popen[bytes]] = set()

    def Handshake(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.engine_address = request.engine_address or self.engine_address
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        return plugin_pb2.PluginInfo(version=importlib.metadata.version("pulumi"))

    def GetRequiredPackages(self, request: Any, context: grpc.ServicerContext) -> Any:
        plugins = self._required(request.info, context)
        return language_pb2.GetRequiredPackagesResponse(
            packages=[
                plugin_pb2.PackageDependency(kind="resource", name=each.name, version=each.version, server=each.server)
                for each in plugins
            ]
        )

    def GetRequiredPlugins(self, request: Any, context: grpc.ServicerContext) -> Any:
        plugins = self._required(request.info, context)
        return language_pb2.GetRequiredPluginsResponse(
            plugins=[
                plugin_pb2.PluginDependency(kind="resource", name=each.name, version=each.version, server=each.server)
                for each in plugins
            ]
        )

    def _required(self, info: Any, context: grpc.ServicerContext) -> list[Plugin]:
        return required_plugins(self._environment(info, context).site_packages, installed_plugins(os.environ))

    def Run(self, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            environment = _environment(request.info)
        except Unusable as reason:
            return language_pb2.RunResponse(error=str(reason))
        # The engine shows what the host prints, so the program writes to the host's own output.
        process = subprocess.Popen(
            [environment.python, "-u", str(self.exec_script), *run_arguments(request, self.engine_address)],
            cwd=request.pwd or None,
            env=run_variables(request, environment.variables(os.environ)),
            stdin=subprocess.DEVNULL,
        )
        with self._stopped_with(process, context):
            return run_response(process.wait())

    def RunPlugin(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        if request.kind != "analyzer":
            context.abort(
                grpc.StatusCode.UNIMPLEMENTED,
                f"{request.info.program_directory}: a {request.kind} plugin in Python needs Pulumi's own language host",
            )
        environment = self._environment(request.info, context)
        folder = request.info.program_directory or request.program
        base = dict(variable.split("=", 1) for variable in request.env)
        process = subprocess.Popen(
            [environment.python, "-u", "-m", "pulumi.policy", *request.args, folder],
            # A pack imports its own modules from where it lies, whatever the program's folder is.
            cwd=folder,
            env=environment.variables(base or os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with self._stopped_with(process, context):
            for name, text in _output(process):
                if name == "stdout":
                    yield language_pb2.RunPluginResponse(stdout=text)
                else:
                    yield language_pb2.RunPluginResponse(stderr=text)
            yield language_pb2.RunPluginResponse(exitcode=process.wait())

    def InstallDependencies(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        self._environment(request.info, context)
        yield language_pb2.InstallDependenciesResponse(
            stdout=b"The virtual environment is left as it is: script/bootstrap installs into it.\n"
        )

    def About(self, request: Any, context: grpc.ServicerContext) -> Any:
        python = self._environment(request.info, context).python
        version = subprocess.run([python, "-VV"], capture_output=True, text=True, check=False).stdout
        return language_pb2.AboutResponse(executable=python, version=version.removeprefix("Python ").strip())

    def GetProgramDependencies(self, request: Any, context: grpc.ServicerContext) -> Any:
        found = dependencies(self._environment(request.info, context).site_packages, request.transitiveDependencies)
        return language_pb2.GetProgramDependenciesResponse(
            dependencies=[language_pb2.DependencyInfo(name=name, version=version) for name, version in found.items()]
        )

    def RuntimeOptionsPrompts(self, request: Any, context: grpc.ServicerContext) -> Any:
        return language_pb2.RuntimeOptionsResponse()

    def Template(self, request: Any, context: grpc.ServicerContext) -> Any:
        return language_pb2.TemplateResponse()

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.stop()
        return empty_pb2.Empty()

    def stop(self) -> None:
        """Ends every program and policy pack that still runs."""
        for process in list(self.running):
            process.terminate()

    def _environment(self, info: Any, context: grpc.ServicerContext) -> Environment:
        try:
            return _environment(info)
        except Unusable as reason:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(reason))
            raise  # abort has raised; this is for the type checker

    def _stopped_with(self, process: subprocess.Popen[bytes], context: grpc.ServicerContext) -> "_Stopped":
        self.running.add(process)
        # The engine ends a policy pack by cancelling the call; a process of ours must not outlive it.
        if not context.add_callback(process.terminate):
            process.terminate()
        return _Stopped(process, self.running.discard)


@dataclass(frozen=True)
class _Stopped:
    process: "subprocess.Popen[bytes]"
    forget: "Callable[[subprocess.Popen[bytes]], None]"

    def __enter__(self) -> None:
        return None

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.forget(self.process)


def _environment(info: Any) -> Environment:
    return Environment.of(Path(info.root_directory), json_format.MessageToDict(info.options))


def _output(process: "subprocess.Popen[bytes]") -> Iterator[tuple[str, bytes]]:
    """What a process writes, as it writes it: ("stdout" or "stderr", bytes), until both ends are closed."""
    parts: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()

    def forward(name: str, source: IO[bytes]) -> None:
        while part := os.read(source.fileno(), 65536):
            parts.put((name, part))
        parts.put((name, b""))

    streams = {"stdout": process.stdout, "stderr": process.stderr}
    for name, source in streams.items():
        assert source is not None  # noqa: S101  both are pipes
        threading.Thread(target=forward, args=(name, source), daemon=True).start()
    open_streams = len(streams)
    while open_streams:
        name, part = parts.get()
        if part:
            yield name, part
        else:
            open_streams -= 1


def main(arguments: Sequence[str]) -> None:
    host = LanguageHost(Path(arguments[0]), arguments[-1])
    # A configuration or a policy pack's output may be larger than gRPC's 4 MiB.
    server = grpc.server(ThreadPoolExecutor(max_workers=32), options=[("grpc.max_receive_message_length", -1)])
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()

    def leave(*_: object) -> None:
        host.stop()
        os._exit(0)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    print(port, flush=True)
    # The engine holds the other end of standard input; when that closes, nobody is left to serve.
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        while os.read(0, 4096):
            pass
        leave()
    server.wait_for_termination()


if __name__ == "__main__":
    main(sys.argv[1:])
