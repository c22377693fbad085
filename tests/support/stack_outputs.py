"""Outputs of a stack on loopback, as the tests of day-two commands need them."""

from pydantic import SecretStr

from ops.stack.outputs import Outputs

OUTPUTS = Outputs(
    app_url="http://localhost:8080",
    api_url="http://localhost:8080",
    stream_url="http://localhost:8080",
    browser_type="headless",
    smoke_url="http://smoke-site:8080",
    ui_username="skyvern",
    ui_password=SecretStr("the-ui-password"),
    api_key=SecretStr("the-api-key"),
    smoke_api_key=SecretStr("the-smoke-api-key"),
    docker_host="unix:///run/x.sock",
    containers={"server": "skyvern-dev-server"},
)
