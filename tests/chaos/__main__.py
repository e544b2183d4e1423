"""``python -m tests.chaos``: both worlds, one after the other, and what was counted."""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.disturbances import Act
from tests.chaos.run import LOCAL, Outcome, disturb, local_world, random_acts, world_apart
from tests.chaos.world import World

# Of the whole time, the part in which the load goes on and nothing is disturbed.
_CALM_SHARE = 0.2


def main() -> None:
    """Run the worlds; exit with 1 when anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long, for both worlds together")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--only", choices=("local", "apart"))
    parser.add_argument("--acts", default="", help="only disturbances whose names begin with one of these, by commas")
    parser.add_argument("--logs", type=Path, help="a folder that the logs of the worlds are copied to")
    arguments = parser.parse_args()
    if os.geteuid():
        sys.exit("this mounts disks and cuts networks: run it as root, as in a container")
    print(f"seed {arguments.seed}", file=sys.stderr)
    chance = random.Random(arguments.seed)
    seconds = arguments.minutes * 60 / (1 if arguments.only else 2)
    calm_seconds = seconds * _CALM_SHARE

    def disturbed(world: World, acts: Sequence[Act]) -> Outcome:
        wanted = [act for act in acts if act.__name__.startswith(tuple(arguments.acts.split(",")))]
        happening = random_acts(wanted, seconds - calm_seconds, chance)
        return disturb(world, happening, calm_seconds=calm_seconds, chance=chance)

    outcomes: list[Outcome] = []
    if arguments.only != "apart":
        with local_world(arguments.seed, arguments.logs) as world:
            outcomes.append(disturbed(world, LOCAL))
            report(outcomes[-1])
    if arguments.only != "local":
        with world_apart(arguments.seed, arguments.logs) as (world, acts):
            outcomes.append(disturbed(world, acts))
            report(outcomes[-1])
    sys.exit(any(outcome.result.findings for outcome in outcomes))


def report(outcome: Outcome) -> None:
    """Print what happened, the counts and the findings."""
    happened = ", ".join(f"{count} {name}" for name, count in sorted(outcome.happened.items()))
    print(f"\n{outcome.name}: {outcome.happened.total()} disturbances: {happened}")
    for name, count in outcome.result.counts.items():
        print(f"  {name:36} {count:,}")
    for role, (mib, later_mib, descriptors, later_descriptors) in outcome.flat.items():
        memory = f"{mib:.0f} to {later_mib:.0f} MiB"
        print(f"  {role:36} {memory}, {descriptors:.0f} to {later_descriptors:.0f} descriptors in the calm time")
    for finding in outcome.result.findings:
        print(f"  FOUND  {finding}")
    print("  sound" if not outcome.result.findings else f"  {len(outcome.result.findings)} findings", flush=True)


if __name__ == "__main__":
    main()
