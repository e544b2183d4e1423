"""``waybill files share`` and ``waybill keys rotate-links``: download links and the keys that sign them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from blocks.durations import parse_duration
from blocks.errors import InvalidOptions
from blocks.settings import current_settings
from waybill.commands.arguments import AsJson, FileId, check_ids, find_files, this_account
from waybill.commands.output import human_time, print_json, print_notice
from waybill.commands.session import with_custody

if TYPE_CHECKING:
    from datetime import timedelta

    from blocks.catalog import Artifact
    from blocks.custody import Custody
    from blocks.links import Link
    from blocks.settings import Settings
    from waybill.services.files import Shared


def share(
    file_id: FileId,
    expires: Annotated[str, typer.Option(help="How long the link works: 90s, 15m, 1h, 7d; at most 30d.")] = "1h",
    direct: Annotated[
        bool, typer.Option("--direct", help="Link to the storage itself: only for files stored unencrypted on S3.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Print a link that downloads one file until it expires.

    The link needs no API key. The gateway answers it ('waybill up' or 'waybill gateway'). It expires with the file at
    the latest. Example: curl -fOJ "$(waybill files share ID)"
    """
    check_ids([file_id])
    lifetime = parse_duration(expires)

    async def work(custody: Custody, settings: Settings) -> Shared:
        from blocks.links import Links
        from waybill.services.files import share_file

        def link(artifact: Artifact) -> Link:
            if direct:
                return _direct(custody, artifact, lifetime)
            return Links.of(settings).to_download(artifact, lifetime)

        (wanted,) = await find_files(custody, [file_id])
        return await share_file(custody, wanted, link, direct=direct, by=this_account())

    shared = with_custody(work)
    artifact, link = shared.artifact, shared.link
    ends = human_time(link.expires_at.isoformat())
    if link.capped:
        print_notice(f"the file expires within {expires}, and the link with it, at {ends}")
    if as_json:
        print_json(shared.as_json())
        return 0
    typer.echo(link.url)
    if not link.capped:
        print_notice(f"works until {ends}; every holder of the link can read {artifact.filename}")
    return 0


def rotate_links(
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Drop the earlier keys, so that every earlier link stops working.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Sign links with a new key from now on.

    Earlier links keep working, unless --revoke ends them all.
    """
    from blocks.links import LinkKeys

    change = LinkKeys(current_settings().resolved_link_keys_file).rotate(revoke=revoke)
    if as_json:
        print_json(
            {
                "key_id": change.key_id,
                "created_at": change.created_at.isoformat(),
                "verifying": list(change.verifying),
                "dropped": list(change.dropped),
            }
        )
        return 0
    typer.echo(f"links are signed with key {change.key_id} from now on")
    if revoke:
        print_notice("no earlier link works any more")
    elif change.verifying:
        print_notice(f"links signed with {len(change.verifying)} earlier keys work until they expire")
    return 0


def _direct(custody: Custody, artifact: Artifact, lifetime: timedelta) -> Link:
    from blocks.links import direct_link

    link = direct_link(custody.backend, artifact, lifetime)
    if link is None and artifact.encrypted_for is not None:
        raise InvalidOptions(
            f"file {artifact.file_id} is stored encrypted: a link to the storage itself would give out bytes that only "
            "Waybill can open; share it without --direct (files are stored unencrypted with WAYBILL_ENCRYPT=false)"
        )
    if link is None:
        raise InvalidOptions(
            f"file {artifact.file_id} is in a storage that signs no links of its own; only S3 does. Share it "
            "without --direct"
        )
    return link
