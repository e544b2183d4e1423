#!/usr/bin/env bash
# onnxruntime 1.32.0, wheel for Linux: the first session writes an identifier of the device below HOME, also after
# `disable_telemetry_events()`.
#
# Behaviour: creating the first `InferenceSession` of a process writes `deviceid` and `onnxruntime.db` into
#   ~/.cache/Microsoft/DeveloperTools/.onnxruntime and leaves one thread more running. Calling
#   `onnxruntime.disable_telemetry_events()` before changes neither. With ORT_DISABLE_TELEMETRY=1 in the environment,
#   nothing is written and the thread is not there.
# Why one would expect otherwise: telemetry was of the builds for Windows only, and a function of the public interface
#   with this name, called before any session, reads as the switch.
# Consequence: set the variable before the first session. Where HOME cannot be written to, the library also prints a
#   warning of its own to the standard error, between the lines of a program whose log is JSON.
#
# Output seen (x86_64):
#   as it is                      2 files
#   disable_telemetry_events()    2 files
#   ORT_DISABLE_TELEMETRY=1       0 files, 1 thread fewer
#
# The sessions run in a network namespace without any interface: nothing is sent.
# Exits with 0 when the behaviour is as described, with 1 when it is not, with 2 where no namespace can be made.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2

alone=(unshare --net)
[ "$(id -u)" = 0 ] || alone=(unshare --map-root-user --net)
"${alone[@]}" true || { echo "no network namespace can be made here, and without one this is not run" >&2; exit 2; }

cat >session.py <<'PY'
import os
import sys

import onnxruntime
from onnx import TensorProto, helper

if "function" in sys.argv:
    onnxruntime.disable_telemetry_events()
value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "ab"]
graph = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "same", value[:1], value[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
print(len(os.listdir("/proc/self/task")))
PY

echo "onnxruntime 1.32.0: files below HOME after the first session of a process, which has a model of one node."
echo "Expected by most readers: none, at the latest after disable_telemetry_events()."
echo
seen=()
for way in default function variable; do
  mkdir "home-$way"
  set --
  [ "$way" != variable ] || set -- ORT_DISABLE_TELEMETRY=1
  threads=$(env -u XDG_CACHE_HOME -u ORT_DISABLE_TELEMETRY HOME="$work/home-$way" "$@" \
    "${alone[@]}" venv/bin/python session.py "$way")
  files=$(find "home-$way" -type f | wc -l)
  echo "$way: $files files, $threads threads"
  find "home-$way" -type f | sed 's/^/    /'
  seen+=("$files:$threads")
done

IFS=: read -r files threads <<<"${seen[0]}"
if [ "$files" = 2 ] && [ "${seen[1]}" = "$files:$threads" ] && [ "${seen[2]}" = "0:$((threads - 1))" ]; then
  echo "As described: only the variable keeps the files away."
else
  echo "NOT AS DESCRIBED" >&2
  exit 1
fi
