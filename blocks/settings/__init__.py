"""Settings: the environment and ``waybill.toml``, read in one place, as one checked object."""

from blocks.settings.settings import (
    DEFAULT_WEBHOOK_SCHEDULE,
    PrivateNetworks,
    Settings,
    current_settings,
    export_to_environment,
    inherited_environment,
    load_settings,
    prefect_api_url,
    settings_file,
    settings_file_for_children,
)

__all__ = [
    "DEFAULT_WEBHOOK_SCHEDULE",
    "PrivateNetworks",
    "Settings",
    "current_settings",
    "export_to_environment",
    "inherited_environment",
    "load_settings",
    "prefect_api_url",
    "settings_file",
    "settings_file_for_children",
]
