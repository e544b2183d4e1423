#!/usr/bin/env bash
# pyarrow 26.0.1: an Arrow IPC stream that was cut off between two batches is read as a whole one with fewer rows.
#
# Behaviour: a writer ends an IPC stream with a mark of eight bytes, which the format leaves optional. A stream that ends
#   where a batch ends is read without an error and without a warning, and so is one that has the schema alone. A stream that
#   ends inside a batch raises an error. The file format, with its footer, raises wherever it is cut.
# Why one would expect otherwise: other streams that are read until they end tell a cut from an end: gzip, zstd (which pyarrow
#   itself refuses as "Truncated compressed stream"), chunked HTTP. The mark looks like the same safeguard.
# Consequence: when the process that writes a stream into a pipe is killed, its reader may take a part of the rows for all of them.
#   Send the number of rows, or a last batch that says so, and refuse a stream without it.
#
# Output seen (3 batches of 1,000 rows):
#   after the schema, 128 bytes:          0 rows
#   after batch 1 of 3, 8272 bytes:       1000 rows
#   after batch 2 of 3, 16416 bytes:      2000 rows
#   after batch 3 of 3, 24560 bytes:      3000 rows
#   whole, 24568 bytes:                   3000 rows
#   inside batch 3, 20000 bytes:          OSError
#   file format, after batch 2:           ArrowInvalid
#
# Exits with 0 when the behaviour is as described, with 1 when it is not.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check pyarrow==26.0.1

echo "pyarrow 26.0.1: an IPC stream of 3 batches of 1,000 rows, cut at different places."
echo "Expected by most readers: 3000 rows, or an error."
echo
venv/bin/python - <<'PY'
import io
import sys

import pyarrow as pa

SCHEMA = pa.schema({"n": pa.int64()})
BATCH = pa.record_batch([pa.array(range(1000))], schema=SCHEMA)


def written(opened):
    """Return the bytes of three batches, and where each one ends."""
    stream, ends = io.BytesIO(), []
    with opened(stream, SCHEMA) as writer:
        for _ in range(3):
            writer.write_batch(BATCH)
            ends.append(stream.tell())
    return stream.getvalue(), ends


def seen(read, data):
    try:
        return read(data).read_all().num_rows
    except (pa.ArrowInvalid, OSError) as error:
        return type(error).__name__


only_schema = io.BytesIO()
pa.ipc.new_stream(only_schema, SCHEMA).close()
mark = 8
schema_bytes = len(only_schema.getvalue()) - mark
whole, ends = written(pa.ipc.new_stream)
file, file_ends = written(pa.ipc.new_file)
cuts = [("after the schema", schema_bytes, 0)]
cuts += [(f"after batch {n} of 3", end, n * 1000) for n, end in enumerate(ends, 1)]
cuts += [("whole", len(whole), 3000), ("inside batch 3", 20_000, "OSError")]
changed = False
for name, length, expected in cuts:
    found = seen(pa.ipc.open_stream, whole[:length])
    changed |= found != expected
    print(f"{f'{name}, {length} bytes:':37} {found}{' rows' if isinstance(found, int) else ''}")
found = seen(pa.ipc.open_file, file[: file_ends[1]])
changed |= found != "ArrowInvalid"
print(f"{'file format, after batch 2:':37} {found}")
print()
print("The behaviour has changed." if changed else "As described: a part of the rows is read as all of them.")
sys.exit(changed)
PY
