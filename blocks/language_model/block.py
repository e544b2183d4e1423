"""The `language-model` block: an OpenAI-compatible server for the stages that may use one.

Owns storing the address, the model's name and the key in Prefect. Worker processes get `LanguageModelSettings` from it
and never see this module. Fits any server that speaks ``/chat/completions``: hosted ones, vLLM, Ollama, llama.cpp.
"""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import Field, SecretStr, field_validator

from blocks.language_model.settings import DEFAULT_TIMEOUT_SECONDS, LanguageModelSettings, base_url_problem


class LanguageModel(Block):
    """A language model behind an OpenAI-compatible interface."""

    _block_type_name = "Language Model"
    _block_type_slug = "language-model"
    _description = "A language model behind an OpenAI-compatible interface, for facts that rules cannot find."

    base_url: str = Field(
        description="What stands before /chat/completions.",
        examples=["https://api.openai.com/v1", "http://127.0.0.1:11434/v1"],
    )
    model: str = Field(min_length=1, description="The model's name as the server knows it.")
    api_key: SecretStr | None = Field(default=None, description="The key, if the server wants one.")
    timeout_seconds: float = Field(
        default=DEFAULT_TIMEOUT_SECONDS, gt=0, le=3600, description="For one batch of passages, tries again included."
    )

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        problem = base_url_problem(value)
        if problem:
            raise ValueError(f"base_url {problem}")
        return value.rstrip("/")

    def settings(self) -> LanguageModelSettings:
        """What a worker process needs, with the key in the clear: hand it on, never store or log it."""
        return LanguageModelSettings(
            base_url=self.base_url,
            model=self.model,
            api_key=self.api_key.get_secret_value() if self.api_key else "",
            timeout_seconds=self.timeout_seconds,
        )
