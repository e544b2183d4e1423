#!/bin/sh
# Prepares what all processes share: keys, the migrated catalogue, the first API key, the work pool and the deployments.
# Safe to run again, and with each upgrade: what is there stays, what is missing is made.
set -eu
keys=$(dirname "$WAYBILL_STORAGE_IDENTITY_FILE")

# The first command that reaches the database migrates it. A storage key is made here, unless stored files need a lost one:
# where the variable names a file, Waybill makes none in its place.
if [ ! -s "$WAYBILL_STORAGE_IDENTITY_FILE" ]; then
    env -u WAYBILL_STORAGE_IDENTITY_FILE waybill keys storage
    (umask 077; cp "$WAYBILL_HOME/storage-identity" "$WAYBILL_STORAGE_IDENTITY_FILE.new")
    mv "$WAYBILL_STORAGE_IDENTITY_FILE.new" "$WAYBILL_STORAGE_IDENTITY_FILE"
fi
waybill keys storage

if [ ! -s "$keys/api-key" ]; then
    (umask 077; waybill keys create "the first key" --scopes admin > "$keys/api-key.new")
    mv "$keys/api-key.new" "$keys/api-key"
fi

# Prefect's server may start at the same time.
python - <<'END'
import os, sys, time, urllib.request

deadline = time.monotonic() + 300
while True:
    try:
        urllib.request.urlopen(os.environ["PREFECT_API_URL"] + "/health", timeout=10)
        break
    except OSError as exc:
        if time.monotonic() > deadline:
            sys.exit(f"no Prefect server answers at {os.environ['PREFECT_API_URL']}: {exc}")
        time.sleep(1)
END
for pool in waybill-pool waybill-remote; do
    said=$(prefect work-pool create "$pool" --type process 2>&1) || case $said in
        *"already exists"*) ;;
        *) echo "$said" >&2; exit 1 ;;
    esac
done
prefect --no-prompt deploy --all
