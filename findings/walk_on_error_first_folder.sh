#!/usr/bin/env bash
# fsspec and s3fs 2026.9.0: `walk(on_error="raise")` raises for its first folder only; a recursive `get` leaves files out.
#
# Behaviour: `walk` does not pass `on_error` on to the folders below. Whatever was asked for, a folder below the first one
#   that cannot be listed is omitted, or appears empty on S3. Nothing is raised, and a callable is not called. What is
#   built on `walk` has no such choice at all: `find` with `maxdepth` and a `glob` over two levels on S3 return less, and
#   `get(..., recursive=True)` of a local folder returns normally and has copied an empty folder.
# Why one would expect otherwise: the parameter is described for the whole walk, like `onerror` of os.walk, which counts
#   at every level. `ls` of the same folder raises PermissionError, and so does the walk when it begins there.
# Consequence: do not copy, count or clean up by a walk when a part may be refused or away. Call `ls` for each folder, or
#   on S3 `find` without `maxdepth`, which is one listing.
#
# The server is a stub on the loopback address: it lists four objects as S3 does, and refuses the prefix docs/b/ with
# AccessDenied, as S3 does when a policy allows s3:ListBucket for other prefixes only.
#
# Output seen:
#   S3:
#     ls of the refused folder:               raised PermissionError
#     walk from it, on_error=raise:           raised PermissionError
#     walk from above, on_error=raise:        [('docs', ['a', 'b'], ['top']), ('docs/a', [], ['1']), ('docs/b', [], [])]
#     walk from above, on_error=list.append:  []
#     find:                                   ['docs/a/1', 'docs/b/2', 'docs/b/deep/3', 'docs/top']
#     find, maxdepth=3:                       ['docs/a/1', 'docs/top']
#     glob docs/*/*:                          ['docs/a/1']
#   local folder:
#     ls of the refused folder:               raised PermissionError
#     walk from above, on_error=raise:        [('docs', ['a', 'b'], ['top']), ('docs/a', [], ['1'])]
#     get, recursive:                         ['a', 'a/1', 'b', 'top']
#     shutil.copytree:                        raised Error
#
# Exits with 0 when the behaviour is as described, with 1 when it is not.
set -euo pipefail

work=$(mktemp -d)
trap 'chmod -R u+rwX "$work"; rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check fsspec==2026.9.0 s3fs==2026.9.0

echo "fsspec and s3fs 2026.9.0: folders are walked, one of which may not be listed."
echo "Expected by most readers: on_error='raise' raises, and an incomplete copy does too."
echo
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_DEFAULT_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=true
export AWS_CONFIG_FILE="$work/none" AWS_SHARED_CREDENTIALS_FILE="$work/none"
venv/bin/python - <<'PY'
import http.server
import os
import shutil
import sys
import threading
import urllib.parse
from pathlib import Path

import fsspec
import s3fs

KEYS = ["docs/a/1", "docs/b/2", "docs/b/deep/3", "docs/top"]
REFUSED = "docs/b/"


def listing(prefix, delimiter):
    """What S3 answers to ListObjectsV2."""
    below = [key for key in KEYS if key.startswith(prefix)]
    folders = {prefix + key[len(prefix) :].split("/")[0] + "/" for key in below if delimiter and "/" in key[len(prefix) :]}
    objects = [key for key in below if not delimiter or "/" not in key[len(prefix) :]]
    contents = "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in objects)
    common = "".join(f"<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>" for folder in sorted(folders))
    return 200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{contents}{common}</ListBucketResult>"


class Stub(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        prefix = asked.get("prefix", "")
        if prefix.startswith(REFUSED):
            status, text = 403, "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        else:
            status, text = listing(prefix, asked.get("delimiter"))
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_HEAD(self):  # asked for folders only, which are no objects
        self.send_error(404)

    def log_message(self, *_):
        pass


def show(what, call):
    """Print and return what the call returns, or the name of the error that it raises."""
    try:
        found = call()
    except (OSError, shutil.Error) as error:
        found = f"raised {type(error).__name__}"
    print(f"  {what:39} {found}")
    return found


def walk(files, root, **options):
    """The folders in order, with paths from the folder docs on."""
    rows = files.walk(root, **options)
    return sorted((path[path.index("docs") :], sorted(folders), sorted(names)) for path, folders, names in rows)


stub = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stub)
threading.Thread(target=stub.serve_forever, daemon=True).start()
endpoint = f"http://127.0.0.1:{stub.server_port}"
files = s3fs.S3FileSystem(endpoint_url=endpoint, use_listings_cache=False, skip_instance_cache=True)


def relative(found):
    return sorted(path.removeprefix("archive/") for path in found)


print("S3:")
errors = []
s3 = [
    show("ls of the refused folder:", lambda: files.ls("archive/docs/b")),
    show("walk from it, on_error=raise:", lambda: walk(files, "archive/docs/b", on_error="raise")),
    show("walk from above, on_error=raise:", lambda: walk(files, "archive/docs", on_error="raise")),
    walk(files, "archive/docs", on_error=errors.append),
    show("walk from above, on_error=list.append:", lambda: errors),
    show("find:", lambda: relative(files.find("archive/docs"))),
    show("find, maxdepth=3:", lambda: relative(files.find("archive/docs", maxdepth=3))),
    show("glob docs/*/*:", lambda: relative(files.glob("archive/docs/*/*"))),
]
REFUSAL = "raised PermissionError"
above = [("docs", ["a", "b"], ["top"]), ("docs/a", [], ["1"])]
empty = [*above, ("docs/b", [], [])]
as_described = s3 == [REFUSAL, REFUSAL, empty, empty, [], KEYS, ["docs/a/1", "docs/top"], ["docs/a/1"]]

print("local folder:")
for key in KEYS:
    Path(key).parent.mkdir(parents=True, exist_ok=True)
    Path(key).write_bytes(b"x")
Path("copies").mkdir(mode=0o777)
refused = Path("docs/b")
is_root = os.geteuid() == 0
if is_root:  # it may list any folder: be "nobody" meanwhile
    Path.cwd().chmod(0o711)
    os.chown("copies", 65534, 65534)
refused.chmod(0)
if is_root:
    os.seteuid(65534)
local = fsspec.filesystem("file", skip_instance_cache=True)
root = str(Path("docs").absolute())
copy = Path("copies/get").absolute()


def get():
    local.get(root, str(copy), recursive=True)
    return sorted(str(path.relative_to(copy)) for path in copy.rglob("*"))


seen = [
    show("ls of the refused folder:", lambda: local.ls(f"{root}/b")),
    show("walk from above, on_error=raise:", lambda: walk(local, root, on_error="raise")),
    show("get, recursive:", get),
    show("shutil.copytree:", lambda: shutil.copytree(root, "copies/copytree")),
]
if is_root:
    os.seteuid(0)
refused.chmod(0o700)
if not as_described or seen != [REFUSAL, above, ["a", "a/1", "b", "top"], "raised Error"]:
    sys.exit("NOT AS DESCRIBED")
print("As described: below the first folder, what cannot be listed is left out.")
PY
