"""Which webhook endpoints may be on this machine without a setting that allows it.

Endpoints that were registered with an address of this machine keep working: the operator, or a holder of an admin key,
has added them. A name is not looked up here, so of the names only ``localhost`` counts. Endpoints of runs and of
Prefect blocks came through an API, and need the setting.
"""

from alembic import op

revision = "0007"
down_revision = "0006"

_UP = (
    "alter table webhook_endpoints add column loopback_allowed boolean not null default false",
    r"""
    update webhook_endpoints set loopback_allowed = true
     where origin = 'registered' and url ~* '^https?://(localhost|127(\.[0-9]{1,3}){3}|\[::1\])([:/?]|$)'
    """,
    "comment on column webhook_endpoints.loopback_allowed is 'The operator added it on the command line with an address of this machine.'",
)


def upgrade() -> None:
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    op.execute("alter table webhook_endpoints drop column loopback_allowed")
