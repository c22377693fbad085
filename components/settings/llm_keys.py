"""The LLM keys that Skyvern 1.0.56 registers, by provider, and which of Ollama's models read images.

An unknown LLM_KEY is no error to Skyvern: it is taken for a raw model name and fails at the first run, so the settings check it
here. Source: skyvern/forge/sdk/api/llm/config_registry.py of the wheel. Azure, Bedrock and Vertex need more than a key and are
reached through ``openai-compatible``.
"""

OPENAI = frozenset(
    """
    OPENAI_GPT-4O-2024-08-06
    OPENAI_GPT4O OPENAI_GPT4O_MINI OPENAI_GPT4V OPENAI_GPT4_1 OPENAI_GPT4_1_MINI OPENAI_GPT4_1_NANO OPENAI_GPT4_5
    OPENAI_GPT4_TURBO OPENAI_GPT5 OPENAI_GPT5_1 OPENAI_GPT5_2 OPENAI_GPT5_4 OPENAI_GPT5_4_MINI OPENAI_GPT5_4_MINI_FLEX
    OPENAI_GPT5_4_NANO OPENAI_GPT5_4_NANO_FLEX OPENAI_GPT5_5 OPENAI_GPT5_6_LUNA OPENAI_GPT5_6_SOL OPENAI_GPT5_6_TERRA
    OPENAI_GPT5_MINI OPENAI_GPT5_MINI_FLEX OPENAI_GPT5_NANO OPENAI_GPT5_NANO_FLEX OPENAI_GPT6_1_SOL OPENAI_GPT6_ASTRA
    OPENAI_GPT6_LUNA OPENAI_GPT6_SOL OPENAI_O3 OPENAI_O3_MINI OPENAI_O4_MINI
    """.split()
)
ANTHROPIC = frozenset(
    """
    ANTHROPIC_CLAUDE4.5_HAIKU ANTHROPIC_CLAUDE4.5_OPUS ANTHROPIC_CLAUDE4.5_SONNET ANTHROPIC_CLAUDE4.6_OPUS
    ANTHROPIC_CLAUDE4.6_SONNET ANTHROPIC_CLAUDE4.7_OPUS ANTHROPIC_CLAUDE4.8_OPUS ANTHROPIC_CLAUDE4_OPUS
    ANTHROPIC_CLAUDE4_SONNET ANTHROPIC_CLAUDE5.1_FABLE ANTHROPIC_CLAUDE5.5_OPUS ANTHROPIC_CLAUDE5.5_SONNET
    ANTHROPIC_CLAUDE5_5_HAIKU ANTHROPIC_CLAUDE5_FABLE ANTHROPIC_CLAUDE5_OPUS
    """.split()
)
GEMINI = frozenset(
    """
    GEMINI_2.5_FLASH GEMINI_2.5_FLASH_FLEX GEMINI_2.5_FLASH_LITE GEMINI_2.5_FLASH_LITE_FLEX GEMINI_2.5_FLASH_PREVIEW
    GEMINI_2.5_PRO GEMINI_2.5_PRO_EXP_03_25 GEMINI_2.5_PRO_FLEX GEMINI_2.5_PRO_PREVIEW GEMINI_3.0_FLASH
    GEMINI_3.1_FLASH_LITE GEMINI_3.1_FLASH_LITE_FLEX GEMINI_3.1_PRO GEMINI_3.5_FLASH GEMINI_3.5_FLASH_LITE
    GEMINI_3.6_FLASH GEMINI_3_PRO GEMINI_FLASH GEMINI_FLASH_2_0 GEMINI_FLASH_2_0_LITE GEMINI_PRO
    """.split()
)

# The kinds of calls that may have another model: Skyvern's variables without _LLM_KEY, in lower case (forge/forge_app.py). Left
# out are prompt_block and adaptive_script_gen, which nothing in 1.0.56 reads, and those of other providers' agents.
KINDS = tuple(
    """
    auto_completion check_user_goal custom_select_agent extraction normal_select_agent parse_select script_generation
    script_reviewer select_agent single_click_agent single_input_agent task_v3 workflow_copilot workflow_copilot_agent
    workflow_copilot_fast workflow_copilot_lite
    """.split()
)

# Families of Ollama's library that take images, as its pages say (2026-11).
_OLLAMA_VISION = frozenset(
    """
    bakllava gemma3 granite3.2-vision llama3.2-vision llama4 llava llava-llama3 llava-phi3 minicpm-v mistral-small3.1
    mistral-small3.2 moondream qwen2.5vl
    """.split()
)
# The small sizes of this family read text only.
_OLLAMA_TEXT_TAGS = ("gemma3:270m", "gemma3:1b")


def has_vision(model: str) -> bool:
    """Whether a model of Ollama's library reads images, by its name: ``llava:7b`` does, ``qwen2.5:7b-instruct`` does not."""
    name = model.rpartition("/")[2]
    return name.partition(":")[0] in _OLLAMA_VISION and not name.startswith(_OLLAMA_TEXT_TAGS)
