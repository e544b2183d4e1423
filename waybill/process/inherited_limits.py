"""What a process inherits besides its environment, made fit for the stack: limits, umask and Python's warnings.

A soft limit is what a shell happens to set, and every process may raise its own to the hard limit, which an
administrator sets. Limits of memory and processor time stay: they are meant.
"""

from __future__ import annotations

import os
import resource
import stat
import sys
import warnings

# As many files as a gateway with its database, storage and clients opens on its busiest day, several times over.
_OPEN_FILES = 65_536
# The kernel's usual limit. Postgres refuses deep queries below it.
_STACK_BYTES = 8 * 2**20

_RAISED = {
    resource.RLIMIT_NOFILE: _OPEN_FILES,
    resource.RLIMIT_STACK: _STACK_BYTES,
    # A file of any size may be stored, and each process of the stack counts.
    resource.RLIMIT_FSIZE: resource.RLIM_INFINITY,
    resource.RLIMIT_NPROC: resource.RLIM_INFINITY,
}

# Python adds these for ``-X dev`` and ``-b``, and expects them when it starts worker processes.
_FLAGS_OF_WARNINGS = {"default", "default::BytesWarning", "error::BytesWarning"}


def make_inherited_limits_fit() -> None:
    """Raise soft limits that are low, let the umask take no right from the owner, and forget `PYTHONWARNINGS`."""
    for limit, wanted in _RAISED.items():
        soft, hard = resource.getrlimit(limit)
        value = _least(wanted, hard)
        if soft != resource.RLIM_INFINITY and _least(soft, value) != value:
            resource.setrlimit(limit, (value, hard))
    # The modes that Waybill gives its files are for their owner; a umask may only take rights of others.
    os.umask(os.umask(0) & ~stat.S_IRWXU)
    if sys.warnoptions:
        # As errors they would end commands; the worker processes would get them too.
        sys.warnoptions[:] = [option for option in sys.warnoptions if option in _FLAGS_OF_WARNINGS]
        warnings.resetwarnings()
        warnings.simplefilter("ignore")


def _least(one: int, other: int) -> int:
    """Return the lower of two limits."""
    unbounded = resource.RLIM_INFINITY
    return other if one == unbounded else one if other == unbounded else min(one, other)
