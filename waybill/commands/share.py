"""``waybill files share`` and ``waybill keys rotate-links``: links that work without an account, and their keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from blocks.durations import parse_duration
from blocks.errors import InvalidOptions
from blocks.settings import current_settings
from waybill.commands.account import this_account
from waybill.commands.output import human_time, print_json, print_notice
from waybill.commands.session import read_id, with_custody

if TYPE_CHECKING:
    from datetime import timedelta

    from blocks.catalog import Artifact
    from blocks.custody import Custody
    from blocks.links import Link
    from blocks.settings import Settings
    from waybill.services.files import Shared

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


def share(
    file_id: Annotated[str, typer.Argument(metavar="ID", help="The file's id, as 'files list' shows it.")],
    expires: Annotated[str, typer.Option(help="How long the link works: 90s, 15m, 1h, 7d; at most 30d.")] = "1h",
    direct: Annotated[
        bool, typer.Option("--direct", help="Link to the storage itself: only for files stored unencrypted on S3.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Print a link that downloads one file, without an account, until it expires: curl -fOJ "$(waybill files share ID)"

    It leads to the gateway ('waybill up' or 'waybill gateway') and ends with the file at the latest.
    """
    wanted, lifetime = read_id(file_id), parse_duration(expires)

    async def work(custody: Custody, settings: Settings) -> Shared:
        from blocks.links import Links
        from waybill.services.files import share_file

        def link(artifact: Artifact) -> Link:
            if direct:
                return _direct(custody, artifact, lifetime)
            return Links.of(settings).to_download(artifact, lifetime)

        return await share_file(custody, wanted, link, direct=direct, by=this_account())

    shared = with_custody(work)
    artifact, link = shared.artifact, shared.link
    ends = human_time(link.expires_at.isoformat())
    if link.capped:
        print_notice(f"the file expires before {expires} are over; the link ends with it, at {ends}")
    if as_json:
        print_json(shared.as_json())
        return 0
    typer.echo(link.url)
    if not link.capped:
        print_notice(f"works until {ends}; whoever has it can read {artifact.filename}")
    return 0


def rotate_links(
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Drop the earlier keys at once: every link given out so far is dead.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Sign links with a new key from now on. Links given out so far work on, unless --revoke ends them all."""
    from blocks.links.signing_keys import LinkKeys

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
        print_notice("every link that was given out before is dead")
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
            f"file {artifact.file_id} lies in a storage that signs no links of its own, as only S3 does; share it "
            "without --direct"
        )
    return link
