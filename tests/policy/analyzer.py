"""The pack as the engine starts it, and the conversation that the engine has with it."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.protobuf import json_format, struct_pb2
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc

from tests.policy.pack import PACK, Sent

LEVELS = {analyzer_pb2.ADVISORY: "advisory", analyzer_pb2.MANDATORY: "mandatory"}


@dataclass(frozen=True)
class Diagnostic:
    """One diagnostic of the protocol."""

    rule: str
    level: str
    message: str
    urn: str
    severity: int


@dataclass(frozen=True)
class Pack:
    """A running pack."""

    stub: Any

    def judge(self, resources: Sequence[Sent], *, stack: str = "prod") -> list[Diagnostic]:
        """Diagnostics about the resources, one by one as they are registered, then about the stack."""
        answers = [self.stub.Analyze(_request(analyzer_pb2.AnalyzeRequest, sent, stack)) for sent in resources]
        whole = analyzer_pb2.AnalyzeStackRequest(
            resources=[_request(analyzer_pb2.AnalyzerResource, sent, stack) for sent in resources]
        )
        answers.append(self.stub.AnalyzeStack(whole))
        return [
            Diagnostic(
                diagnostic.policyName,
                LEVELS[diagnostic.enforcementLevel],
                diagnostic.message,
                diagnostic.urn,
                diagnostic.severity,
            )
            for answer in answers
            for diagnostic in answer.diagnostics
        ]


def _request(kind: Any, sent: Sent, stack: str) -> Any:
    properties = json_format.ParseDict(dict(sent.inputs), struct_pb2.Struct())
    options = analyzer_pb2.AnalyzerResourceOptions(protect=sent.protect)
    return kind(type=sent.type, name=sent.name, urn=sent.urn(stack), properties=properties, options=options)


@contextmanager
def running(pack: Path = PACK, python: str | Path = sys.executable) -> Iterator[Pack]:
    """The pack of a folder, started as Pulumi's Python host starts it, with the pack's interpreter."""
    process = subprocess.Popen(
        [python, "-u", "-m", "pulumi.policy", "127.0.0.1:1", str(pack)],
        cwd=pack,
        env={key: value for key, value in os.environ.items() if not key.startswith("PULUMI_")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Pack(analyzer_pb2_grpc.AnalyzerStub(channel))
    finally:
        process.terminate()
        process.wait()
