"""Spellings that must be the daemon's own, or every plan shows a change."""

import pytest

from components.host.service import go_duration
from components.settings import Settings
from tests.support import program


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (5, "5s"), (59, "59s"), (60, "1m0s"), (300, "5m0s"), (3600, "1h0m0s"), (3661, "1h1m1s")]
)
def test_durations_are_spelled_as_go_prints_them(seconds: int, text: str) -> None:
    assert go_duration(seconds) == text


@pytest.mark.parametrize(("cpus", "text"), [(2, "2.0"), (0.5, "0.5"), (1.25, "1.25"), (1 / 3, "0.33")])
def test_cpus_have_a_decimal(cpus: float, text: str) -> None:
    # Seen with the real provider: "2" came back as "2.0" and replaced the container at the second plan.
    run = program.run(Settings.model_validate({"server": {"cpus": cpus}}))
    assert run.container("server").inputs["cpus"] == text
