"""The files that four Swift servers on loopback need: rings and one configuration file each."""

from __future__ import annotations

import getpass
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

BACK_ENDS = ("account", "container", "object")
ACCESS_KEY = "test:tester"
SECRET_KEY = "testing"

_SWIFT = """\
[swift-hash]
swift_hash_path_prefix = waybill
swift_hash_path_suffix = tests
[storage-policy:0]
name = gold
default = yes
[swift-constraints]
max_header_size = 16384
"""

# On a busy machine a list that is not brought up to date in time would never be: the server that does it later does not
# run here. So nobody gives up on a neighbour.
_BACK_END = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
swift_dir = {folder}/etc
devices = {folder}/node
mount_check = false
user = {user}
log_address = /dev/null
fallocate_reserve = 0
disable_fallocate = true
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
mb_per_sync = 8192
conn_timeout = 30
node_timeout = 60
container_update_timeout = 60
[{name}-replicator]
[{name}-updater]
[{name}-auditor]
"""

# s3api takes 1,000 parts unless told otherwise; S3 takes 10,000.
_PROXY = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
swift_dir = {folder}/etc
user = {user}
log_address = /dev/null
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache listing_formats bulk s3api tempauth copy slo dlo versioned_writes \
symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
conn_timeout = 30
node_timeout = 60
recoverable_node_timeout = 60
account_autocreate = true
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
s3_acl = false
check_bucket_owner = false
allow_multipart_uploads = true
dns_compliant_bucket_names = false
max_upload_part_num = 10000
[filter:cache]
paste.filter_factory = info_cache:filter_factory
"""
_PLAIN_FILTERS = (
    "catch_errors", "gatekeeper", "healthcheck", "listing_formats", "bulk", "copy", "slo", "dlo", "versioned_writes",
    "symlink",
)  # fmt: skip
# One device with one copy of everything; arguments are name=port.
_RINGS = """
import sys
from swift.common.ring import RingBuilder

for name, port in (argument.split("=") for argument in sys.argv[1:]):
    builder = RingBuilder(part_power=4, replicas=1, min_part_hours=0)
    place = {"region": 1, "zone": 1, "ip": "127.0.0.1", "port": int(port)}
    place |= {"replication_ip": place["ip"], "replication_port": place["port"]}
    builder.add_dev({**place, "device": "d1", "weight": 1.0, "meta": ""})
    builder.rebalance()
    builder.get_ring().save(f"{name}.ring.gz")
"""


def write_configuration(folder: Path, environment: Path, ports: Mapping[str, int]) -> None:
    """Lay out *folder* for servers that listen on *ports* (account, container, object, proxy)."""
    (folder / "etc").mkdir()
    (folder / "node/d1").mkdir(parents=True)
    values = {"folder": folder, "user": getpass.getuser()}
    (folder / "etc/swift.conf").write_text(_SWIFT)
    shutil.copy(Path(__file__).with_name("info_cache.py"), folder / "etc")
    for name in BACK_ENDS:
        (folder / f"etc/{name}.conf").write_text(_BACK_END.format(name=name, port=ports[name], **values))
    _make_rings(folder / "etc", environment, ports)
    filters = "".join(f"[filter:{name}]\nuse = egg:swift#{name}\n" for name in _PLAIN_FILTERS)
    (folder / "etc/proxy.conf").write_text(_PROXY.format(port=ports["proxy"], **values) + filters)


def _make_rings(folder: Path, environment: Path, ports: Mapping[str, int]) -> None:
    """One process for all of them: what `swift-ring-builder` does takes no time beside its start."""
    given = [f"{name}={ports[name]}" for name in BACK_ENDS]
    subprocess.run(
        [str(environment / "bin/python"), "-W", "ignore", "-c", _RINGS, *given],
        cwd=folder,
        check=True,
        capture_output=True,
    )
