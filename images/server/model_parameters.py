"""A module of Skyvern's ADDITIONAL_MODULES: of a custom model's extra parameters, those pass that say how the model answers.

Skyvern 1.0.56 refuses ten names and hands everything else to litellm as arguments. With ``base_url`` and ``fallbacks`` a caller
sent the server's own keys, and any file of it (``vertex_credentials``), to any address, internal ones too. The gateway takes no
custom model; this also holds for one that is already in the database.
"""

import inspect
from typing import Any

from at_start import ends_start

# None of these names an address, a file or a credential of the server. extra_headers go where the model's own key goes.
ALLOWED = frozenset(
    """
    extra_headers frequency_penalty presence_penalty reasoning_effort response_format seed service_tier stop thinking top_k top_p
    """.split()
)


@ends_start("model parameters")
def configure_app(_app: Any) -> None:
    """Called by Skyvern before the server starts; ends the start where parameters do not pass through this."""
    from skyvern.forge.sdk.api.llm import custom_llm_registry
    from skyvern.forge.sdk.schemas.custom_llms import CustomLLMConfig

    limit(custom_llm_registry, CustomLLMConfig)


def limit(registry: Any, config_class: Any) -> None:
    """Puts the list in front of the function that makes litellm's arguments; RuntimeError where it is gone or not asked."""
    build = getattr(registry, "_build_litellm_params", None)
    if not inspect.isfunction(build) or tuple(inspect.signature(build).parameters) != ("config", "litellm_model_name"):
        raise RuntimeError(
            "this Skyvern's _build_litellm_params is not that of 1.0.56, so a model's parameters could not be limited"
        )

    def build_limited(config: Any, litellm_model_name: str) -> Any:
        allowed = {name: value for name, value in config.extra_parameters.items() if name in ALLOWED}
        return build(config.model_copy(update={"extra_parameters": allowed}), litellm_model_name)

    registry._build_litellm_params = build_limited
    tried = config_class(
        display_name="x", provider="gemini", model_name="x", api_key="x", extra_parameters={"base_url": "x", "top_p": 1}
    )
    passed = registry._build_llm_config(tried).litellm_params
    if "base_url" in passed or passed.get("top_p") != 1:
        raise RuntimeError("this Skyvern makes a model's parameters elsewhere, so they could not be limited")
