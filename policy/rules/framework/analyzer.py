"""The rules behind Pulumi's analyzer protocol: the only file that knows pulumi_policy.

Metadata, configuration and the conversation with the engine are the SDK's. The two calls that judge are answered here, because
the SDK's PolicyPack cannot give a rule another level in another stack, makes a mandatory rule advisory at the first
unknown value, hides which values are secret, and decodes every resource once for each rule. The class it is made of is private
(pulumi_policy 1.21.0, pinned); tests/policy drives it through the wire, so a new version that has changed it fails there.
"""

import datetime
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.protobuf import json_format
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc
from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyComplianceFramework,
    ResourceValidationPolicy,
    Severity,
    StackValidationPolicy,
)
from pulumi_policy.policy import _PolicyAnalyzerServicer

from .evaluation import Evaluation, Report
from .last_state import created_by_urn, exported, inputs_by_urn
from .levels import Level, Levels, LevelsError, parse
from .rule import STACK, Resource, Rule
from .values import Inputs, decode

NAME = "skyvern-host"
CIS = "CIS Docker Benchmark"
CIS_VERSION = "1.6.0"
_LEVELS: Mapping[Level, Any] = {
    "advisory": analyzer_pb2.ADVISORY,
    "mandatory": analyzer_pb2.MANDATORY,
    "disabled": analyzer_pb2.DISABLED,
}


def _never_called(*_: Any) -> None:
    raise NotImplementedError("Analyzer answers these calls")


def policy(rule: Rule) -> Policy:
    """A rule as the SDK describes it to the engine."""
    kind = StackValidationPolicy if rule.type == STACK else ResourceValidationPolicy
    framework = (
        PolicyComplianceFramework(name=CIS, version=CIS_VERSION, reference=", ".join(rule.cis), specification="sections 4 and 5")
        if rule.cis
        else None
    )
    return kind(
        name=rule.name,
        description=rule.description,
        validate=_never_called,
        enforcement_level=EnforcementLevel.MANDATORY,
        severity=Severity(rule.severity),
        framework=framework,
        tags=[
            *(f"cis-docker-1.6.0:{control}" for control in rule.cis),
            *(f"kics:{query}" for query in rule.kics),
            *(f"prowler:{check}" for check in rule.prowler),
        ],
        remediation_steps=rule.remediation,
        url=rule.url,
    )


class Analyzer(_PolicyAnalyzerServicer):
    """Answers the engine for one preview or update."""

    def __init__(
        self,
        rules: Sequence[Rule],
        levels: Levels,
        *,
        today: Callable[[], datetime.date] = datetime.date.today,
    ) -> None:
        # The version is a stand-in: the engine shows the one in PulumiPolicy.yaml.
        super().__init__(NAME, "0.0.1", [policy(rule) for rule in rules], EnforcementLevel.MANDATORY)
        self.organization = "organization"
        self.evaluation = Evaluation(
            rules,
            levels,
            today=today(),
            last_state=lambda urn: inputs_by_urn(exported(urn, self.organization)),
            created=lambda urn: created_by_urn(exported(urn, self.organization)),
        )

    def ConfigureStack(self, request: Any, context: Any) -> Any:
        self.organization = request.organization or self.organization
        return super().ConfigureStack(request, context)

    def Configure(self, request: Any, context: Any) -> Any:
        """Takes the levels of ``--policy-pack-config``. The engine repeats the pack's own, all mandatory, for the others."""
        names: dict[int, Level] = {number: name for name, number in _LEVELS.items()}
        self.evaluation.configured = {
            rule: names[value.enforcementLevel]
            for rule, value in request.policyConfig.items()
            if value.enforcementLevel in names and value.enforcementLevel != analyzer_pb2.MANDATORY
        }
        return super().Configure(request, context)  # type: ignore[no-untyped-call]  # untyped in the SDK

    def Analyze(self, request: Any, context: Any) -> Any:
        return self._answer(self.evaluation.resource(_resource(request)))

    def AnalyzeStack(self, request: Any, context: Any) -> Any:
        return self._answer(self.evaluation.stack([_resource(resource) for resource in request.resources]))

    def _answer(self, reports: Sequence[Report]) -> Any:
        return analyzer_pb2.AnalyzeResponse(
            diagnostics=[
                analyzer_pb2.AnalyzeDiagnostic(
                    policyName=report.rule.name,
                    policyPackName=NAME,
                    policyPackVersion="0.0.1",
                    description=report.rule.description,
                    message=f"{report.rule.description}\n{report.message}",
                    urn=report.urn,
                    enforcementLevel=_LEVELS[report.level],
                    severity=self._map_severity(Severity(report.rule.severity)),
                )
                for report in reports
            ]
        )


def _resource(request: Any) -> Resource:
    secrets: set[str] = set()
    values = decode(json_format.MessageToDict(request.properties), secrets=secrets)
    return Resource(
        urn=request.urn,
        type=request.type,
        inputs=Inputs(values, secrets=frozenset(secrets)),
        protect=request.options.protect,
    )


def serve(levels_file: Path, rules: Sequence[Rule] | None = None) -> None:
    """Serves the rules until the engine ends the process; the first line of standard output is the port."""
    if rules is None:
        # Here, because the rules are made with this package.
        from .. import RULES

        rules = RULES
    try:
        levels = parse(levels_file.read_text(), rules, file=f"{levels_file.parent.name}/{levels_file.name}")
    except LevelsError as wrong:
        sys.exit("\n".join(wrong.lines))
    # A plan of many containers is larger than gRPC's 4 MiB.
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4), options=[("grpc.max_receive_message_length", -1)])
    analyzer_pb2_grpc.add_AnalyzerServicer_to_server(Analyzer(rules, levels), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    threading.Event().wait()
