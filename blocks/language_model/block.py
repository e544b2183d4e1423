"""The `language-model` block: an OpenAI-compatible server for the stages that may use one.

Works with any server that implements ``/chat/completions``: hosted ones, vLLM, Ollama, llama.cpp. Worker processes get
`LanguageModelSettings` from it and never import this module.
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
        description="Address of the server: the part of the URL before /chat/completions.",
        examples=["https://api.openai.com/v1", "http://127.0.0.1:11434/v1"],
    )
    model: str = Field(min_length=1, description="Name of the model, as the server uses it.")
    api_key: SecretStr | None = Field(default=None, description="API key, if the server requires one.")
    timeout_seconds: float = Field(
        default=DEFAULT_TIMEOUT_SECONDS, gt=0, le=3600, description="Time limit of one batch of passages, with retries."
    )

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        problem = base_url_problem(value)
        if problem:
            raise ValueError(f"base_url {problem}")
        return value.rstrip("/")

    def settings(self) -> LanguageModelSettings:
        """Return the settings for worker processes, with the key in clear text: never store or log them."""
        return LanguageModelSettings(
            base_url=self.base_url,
            model=self.model,
            api_key=self.api_key.get_secret_value() if self.api_key else "",
            timeout_seconds=self.timeout_seconds,
        )
