"""Settings: the environment and ``waybill.toml``, read in one place and checked as one object.

No other package reads the environment. `load_settings` reads, `current_settings` reads once a process. Messages about
wrong settings name the variable and the expected form, never the value. Start at `settings.py`.
"""

from blocks.settings.parsing import Secret
from blocks.settings.settings import (
    PrivateNetworks,
    Settings,
    absolute_paths,
    current_settings,
    drop_from_environment,
    export_to_environment,
    home_above,
    inherited_environment,
    load_settings,
    prefect_api_url,
    setting_names,
    settings_file,
    settings_file_for_children,
    unknown_variables,
)

__all__ = [
    "PrivateNetworks",
    "Secret",
    "Settings",
    "absolute_paths",
    "current_settings",
    "drop_from_environment",
    "export_to_environment",
    "home_above",
    "inherited_environment",
    "load_settings",
    "prefect_api_url",
    "setting_names",
    "settings_file",
    "settings_file_for_children",
    "unknown_variables",
]
