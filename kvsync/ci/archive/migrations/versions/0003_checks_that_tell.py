"""The few checks that say something can be found without reading all that passed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TELL = "(kind <> 'passed' OR mixed)"


def upgrade() -> None:
    """Make the index."""
    where, columns = sa.text(TELL), ["run_id", "stage", "name", "kind", "mixed"]
    op.create_index("checks_that_tell", "checks", columns, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Drop the index."""
    op.drop_index("checks_that_tell", "checks")
