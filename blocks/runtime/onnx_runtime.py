"""ONNX Runtime as every process of ours loads it: without the telemetry that its wheels for Linux have."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

# Read when the first session is created. `disable_telemetry_events()` keeps no file away, see
# `findings/onnxruntime_device_identifier.sh`.
TELEMETRY_SWITCH = "ORT_DISABLE_TELEMETRY"


def onnx_runtime() -> Any:
    """Return the module `onnxruntime`, which then writes no files below HOME and starts no thread that sends events.

    Call it also before a library that imports ONNX Runtime by itself. It takes 20 ms the first time.
    """
    os.environ[TELEMETRY_SWITCH] = "1"
    return import_module("onnxruntime")
