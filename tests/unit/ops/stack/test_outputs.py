"""ops.stack.outputs: what is read of the program's exports, and one line without a value for what is missing."""

import json

import pytest

from ops.errors import UserError
from ops.stack.outputs import parse
from tests.support.smoke import KEY, PASSWORD, outputs_json


def test_reads_what_the_program_exports_and_ignores_the_rest() -> None:
    outputs = parse("dev", json.dumps({**outputs_json(), "later": 1}))
    assert outputs.containers["gateway"] == "skyvern-dev-gateway"
    assert KEY not in repr(outputs)
    assert PASSWORD not in repr(outputs)


def test_names_what_is_missing_and_repeats_no_value() -> None:
    broken = {**outputs_json(), "ui_password": 7}
    del broken["containers"]
    with pytest.raises(UserError, match=r"stack dev: .*containers, ui_password; run pulumi up -s dev") as caught:
        parse("dev", json.dumps(broken))
    assert KEY not in str(caught.value)


def test_no_json_is_one_line() -> None:
    with pytest.raises(UserError, match=r"stack prod: .* printed no JSON"):
        parse("prod", "")
