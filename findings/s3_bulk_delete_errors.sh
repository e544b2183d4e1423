#!/usr/bin/env bash
# s3fs 2026.9.0: `rm` of several objects succeeds although the server refused to delete some of them.
#
# Behaviour: `rm` sends one DeleteObjects request per 1,000 keys. The answer has status 200 and lists the keys that failed
#   under `Errors`, which s3fs does not read. A key whose deletion a bucket policy denies stays in the bucket, and `rm` neither
#   raises nor logs, for a single path as well. It returns the keys that the answer lists as deleted. s3fs asks for quiet
#   mode, in which S3 lists failures only, so this list need not show the difference (moto lists the deleted keys anyway).
#   `rm_file` of the same key sends DeleteObject and raises PermissionError.
# Why one would expect otherwise: s3fs turns "access denied" into PermissionError elsewhere, and `rm_file` looks like the same
#   operation for one path.
# Consequence: code that must know what is gone calls DeleteObjects itself and reads `Errors`, or lists the bucket afterwards.
#
# The server is moto, which emulates S3 on the loopback address; its answer is printed as botocore shows it.
# Exits with 0 when the behaviour is as described, with 1 when it is not.
set -euo pipefail

work=$(mktemp -d)
server=
stop() {
  if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
  rm -rf "$work"
}
trap stop EXIT
cd "$work"

# An environment each, since moto and s3fs want different versions of botocore.
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check s3fs==2026.9.0
python3 -m venv emulator
emulator/bin/python -m pip install --quiet --disable-pip-version-check 'moto[s3]==5.2.5' flask==3.1.3 flask-cors==6.0.5

port=$(venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
emulator/bin/moto_server -H 127.0.0.1 -p "$port" >server.log 2>&1 &
server=$!

echo "s3fs 2026.9.0: rm of objects that the server refuses to delete raises nothing."
echo "Expected by most readers: PermissionError, as rm_file raises it for the same key."
echo
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_DEFAULT_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=true
export AWS_CONFIG_FILE="$work/none" AWS_SHARED_CREDENTIALS_FILE="$work/none"
ENDPOINT="http://127.0.0.1:$port" venv/bin/python - <<'PY'
import json
import os
import sys
import time

import botocore.session
import s3fs
from botocore.exceptions import EndpointConnectionError

endpoint = os.environ["ENDPOINT"]
client = botocore.session.get_session().create_client("s3", endpoint_url=endpoint)
for _ in range(150):
    try:
        client.create_bucket(Bucket="archive")
        break
    except EndpointConnectionError:
        time.sleep(0.2)
else:
    sys.exit("the server did not start")

KEYS = ["old/1.pdf", "old/2.pdf", "kept/3.pdf"]


def fill() -> None:
    client.delete_bucket_policy(Bucket="archive")
    for key in KEYS:
        client.put_object(Bucket="archive", Key=key, Body=b"document")


def deny() -> None:
    rule = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:DeleteObject",
        "Resource": "arn:aws:s3:::archive/kept/*",
    }
    policy = {"Version": "2012-10-17", "Statement": [rule]}
    client.put_bucket_policy(Bucket="archive", Policy=json.dumps(policy))


def left() -> list[str]:
    return [found["Key"] for found in client.list_objects_v2(Bucket="archive").get("Contents", [])]


files = s3fs.S3FileSystem(endpoint_url=endpoint, use_listings_cache=False, skip_instance_cache=True)
paths = [f"archive/{key}" for key in KEYS]

fill()
allowed = files.rm(paths)
print("all deletions allowed:  rm returned", allowed, "| left in the bucket:", left())
complete = left() == []

fill()
deny()
several = files.rm(paths)
left_several = left()
print("kept/3.pdf is denied:   rm returned", several, "| left in the bucket:", left_several)
single = files.rm("archive/kept/3.pdf")
print("kept/3.pdf alone:       rm returned", single, "| left in the bucket:", left())
try:
    files.rm_file("archive/kept/3.pdf")
    raised = None
except PermissionError as error:
    raised = error
print("rm_file of kept/3.pdf:  raised", repr(raised))
delete = {"Objects": [{"Key": "kept/3.pdf"}], "Quiet": True}
answer = client.delete_objects(Bucket="archive", Delete=delete)
print("the answer in quiet mode: status", answer["ResponseMetadata"]["HTTPStatusCode"], "Errors", answer.get("Errors"))

if not complete or left_several != ["kept/3.pdf"] or left() != ["kept/3.pdf"] or raised is None or not answer.get("Errors"):
    sys.exit("NOT AS DESCRIBED")
print("As described: rm returned normally and the denied object is still there.")
PY
