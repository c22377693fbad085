"""Reports from events of the real engine (golden/preview/*.json, recorded by tests/engine/previews.py), compared by the letter.

pytest tests/unit/ops/preview/test_preview_reports.py --write-golden   writes the reports again; read them before committing
"""

import dataclasses
import datetime
import itertools
import json
import re
import sys
from types import FrameType

import pytest

from ops.paths import ROOT
from ops.preview import engine
from ops.preview.model import Drift, Exposure, Operation, PolicyResult, Preview, PropertyDiff, Step, dump, exit_code, load
from ops.preview.report import LIMIT, MARKER, code, markdown
from ops.redaction import Redactor

GOLDEN = ROOT / "tests" / "unit" / "golden" / "preview"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.json"))
ABOUT = Preview(
    stack="prod",
    made=datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC),
    head="a" * 40,
    base="b" * 40,
    config_hash="c" * 64,
    state_digest="d" * 64,
    versions={"engine": "3.256.0", "skyvern": "1.0.56"},
)
CODES = {"no-change": 0, "failed": 1, "database-volume": 1, "policy-violation": 3}


def recorded(name: str) -> Preview:
    runs = json.loads((GOLDEN / f"{name}.json").read_text())
    about = dataclasses.replace(ABOUT, state_digest="") if name == "first-deployment" else ABOUT
    preview = engine.build(about, engine.Run(**runs["preview"]), Redactor.of([]), engine.disposable_volumes())
    if "drift" not in runs:
        return preview
    return dataclasses.replace(preview, drift=engine.build_drift(engine.Run(**runs["drift"]), Redactor.of([])))


@pytest.mark.parametrize("name", NAMES)
def test_report(name: str, pytestconfig: pytest.Config) -> None:
    preview = recorded(name)
    text = markdown([preview])
    golden = GOLDEN / f"{name}.md"
    if pytestconfig.getoption("--write-golden"):
        golden.write_text(text)
    assert text == golden.read_text()
    assert exit_code([preview]) == CODES.get(name, 2)
    assert load(dump([preview]), file="stored") == (preview,)


def test_ten_kinds_of_reports_are_recorded() -> None:
    changes = ["image-bump", "database-volume", "new-public-host", "rotation", "first-deployment"]
    assert sorted([*changes, "no-change", "policy-violation", "exemption", "failed", "drift"]) == NAMES


def test_the_verdict_comes_first_and_names_the_worst() -> None:
    first = {name: markdown([recorded(name)]).split("\n## Preview\n\n")[1].splitlines()[0] for name in NAMES}
    assert {name: line.removeprefix("- ").partition(" — ")[0] for name, line in first.items()} == {
        "database-volume": "🚨 **`prod`: refused, because what is protected would be lost**",
        "drift": "✅ **`prod`: no change**",
        "exemption": "♻️ **`prod`: something is replaced**",
        "failed": "❌ **`prod`: the preview failed**",
        "first-deployment": "🌱 **`prod`: first deployment**",
        "image-bump": "♻️ **`prod`: something is replaced**",
        "new-public-host": "🗑️ **`prod`: something is deleted**",
        "no-change": "✅ **`prod`: no change**",
        "policy-violation": "⛔ **`prod`: refused by policy**",
        "rotation": "♻️ **`prod`: something is replaced**",
    }
    assert first["rotation"].endswith("8 replaced, 1 updated · 🔑 4 secrets rotated · ⏱️ 1 restart, up to 90 s")
    assert first["exemption"].endswith("⏰ 1 exemption about to end")
    assert first["drift"].endswith("🌊 drift in 2 resources")
    assert "🔓 3 addresses gained" in first["new-public-host"]


# --- Size ------------------------------------------------------------------------------------------------------------------


def many(number: int, operation: Operation = "update") -> Preview:
    diffs = tuple(PropertyDiff(path=f"envs[NAME_{index}]", old="x" * 60, new="y" * 60) for index in range(8))
    steps = tuple(
        Step(
            urn=f"urn:pulumi:prod::skyvern::a:b:C::thing-{index:03}",
            type="a:b:C",
            name=f"thing-{index:03}",
            operation=operation,
            diffs=diffs,
        )
        for index in range(number)
    )
    return dataclasses.replace(
        ABOUT, steps=steps, counts={operation: number}, policy_pack="skyvern-host 0.1.0", drift=Drift(checked=True)
    )


def calls(preview: Preview) -> int:
    """How many functions are called while a report is written; a clock shows what else this machine does."""
    counted = itertools.count()

    def count(frame: FrameType, event: str, _: object) -> None:
        if event in {"call", "c_call"}:
            next(counted)

    sys.setprofile(count)
    try:
        markdown([preview])
    finally:
        sys.setprofile(None)
    return next(counted)


@pytest.mark.parametrize("operation", ["update", "replace"])
def test_twice_as_many_resources_are_twice_the_work(operation: Operation) -> None:
    some, twice = calls(many(250, operation)), calls(many(500, operation))
    assert some < twice < 2.2 * some


@pytest.mark.parametrize("operation", ["update", "replace"])
def test_five_hundred_resources_are_within_the_limit(operation: Operation) -> None:
    text = markdown([many(500, operation)], link="https://example.com/report")
    assert LIMIT / 2 < len(text.encode("utf-16-le")) / 2 <= LIMIT
    assert "[the whole report](https://example.com/report)" in text
    # Whole resources only: each that is begun has all of its lines.
    assert text.count("@@ ") == text.count(f"+ envs[NAME_7]: {'y' * 60}")
    assert f"the diff of {500 - text.count('@@ ')} resources is not shown" in text


def test_what_is_lost_is_shown_whatever_is_trimmed() -> None:
    type_ = "docker:index/volume:Volume"
    destructive = tuple(
        Step(
            urn=f"urn:pulumi:prod::skyvern::{type_}::data-{number}",
            type=type_,
            name=f"data-{number}",
            operation="delete",
            stateful=True,
        )
        for number in range(70)
    )
    crowd = many(500, "replace")
    text = markdown([dataclasses.replace(crowd, steps=(*crowd.steps, *destructive))])
    assert text.count("🚨 **delete** `data-") == text.count("@@ delete data-") == 70


@pytest.mark.parametrize("limit", [300, 2_000, 20_000])
def test_no_limit_is_exceeded(limit: int) -> None:
    text = markdown([many(500), dataclasses.replace(many(300, "delete"), stack="dev")], limit=limit)
    assert len(text) <= limit
    assert text.startswith(MARKER)


def test_without_a_limit_everything_is_shown() -> None:
    assert markdown([many(500)], limit=None).count("@@ update") == 500


def test_a_list_that_is_cut_counts_what_it_leaves_out() -> None:
    ends = datetime.date(2027, 1, 31)
    exempted = tuple(
        PolicyResult(rule=f"a-b-{number}", outcome="exempted", level="advisory", message="x", expires=ends)
        for number in range(70)
    )
    text = markdown([dataclasses.replace(ABOUT, policies=exempted, policy_pack="p 1")])
    assert text.count("| 2027-01-31 (70 days left) |") == 60
    assert "\n\n… and 10 more\n" in text


# --- Foreign text ----------------------------------------------------------------------------------------------------------

EVIL = "x` <img src=x> | @everyone\n\n# heading ``` -->"


def test_foreign_text_is_neither_markup_nor_a_mention() -> None:
    step = Step(urn=f"urn:pulumi:prod::skyvern::a:b:C::{EVIL}", type="a:b:C", name=EVIL, operation="delete")
    preview = dataclasses.replace(
        ABOUT,
        steps=(step,),
        counts={"delete": 1},
        policies=(PolicyResult(rule="a-b-c", outcome="violated", level="mandatory", message=EVIL),),
        policy_pack="p 1",
        exposures=(Exposure(change="gained", kind="host", what=EVIL, where=EVIL),),
        base="--> <script>",
    )
    text = markdown([preview])
    assert "\n# heading" not in text
    assert "--> <script>" not in text.splitlines()[2]
    outside = re.sub(r"^(`{3,})diff\n.*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert outside.count("@everyone") == outside.count(code(EVIL)) == 4
    # The fence is longer than any in what it holds.
    assert "````diff" in text


def test_code_survives_backticks_and_tables() -> None:
    assert code("a`b") == "``a`b``"
    assert code("`a") == "`` `a ``"
    assert code("a|b\nc") == "`a\\|b c`"


def test_a_drift_that_could_not_be_looked_for_does_not_pass_for_none() -> None:
    lost = Step(urn="urn:x::data", type="docker:index/volume:Volume", name="data", operation="delete", stateful=True)
    text = markdown([dataclasses.replace(ABOUT, steps=(lost,), drift=Drift(checked=True, failure="no daemon at `x`"))])
    assert "- ❌ **`prod`: the drift could not be checked** — 🚨 data or secrets would be lost" in text
    assert "so nothing is known about it: ``" in text
    assert "Check for drift first" in text


def test_a_resource_that_stays_where_it_is_is_not_lost() -> None:
    type_ = "cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared"
    step = Step(urn=f"urn:x::{type_}::t", type=type_, name="t", operation="delete", stateful=True, retained=True)
    text = markdown([dataclasses.replace(ABOUT, steps=(step,), counts={"delete": 1})])
    assert "- 🗑️ **`prod`: something is deleted**" in text
    assert "it stays where it is and is only forgotten" in text
    assert "🚨" not in text


# --- Stacks side by side ---------------------------------------------------------------------------------------------------


def test_what_is_not_alike_in_all_stacks_is_named() -> None:
    prod, dev = recorded("rotation"), dataclasses.replace(recorded("no-change"), stack="dev")
    text = markdown([dev, prod])
    assert text.index("**`dev`: no change**") < text.index("**`prod`: something is replaced**") < text.index("### Stack `dev`")
    assert "| `skyvern-secrets-database` | - | replace |" in text


def test_what_is_recorded_holds_no_secret() -> None:
    ciphers: list[str] = []
    for name in NAMES:
        text = (GOLDEN / f"{name}.json").read_text()
        assert '"plaintext"' not in text
        ciphers += re.findall(r'"ciphertext": "([^"]*)"', text)
        assert not re.search(r"\$2[aby]\$|eyJ[\w-]{8,}\.", text)
    assert set(ciphers) == {"[secret]"}
