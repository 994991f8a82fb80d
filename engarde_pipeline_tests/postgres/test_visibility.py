"""Row-level security: what could hide rows from the role stops it; what is known to hide none does not."""

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy.engine import make_url

from engarde_pipeline.postgres.connection import DatabaseUnfit, connect
from engarde_pipeline.postgres.visibility import check_sees_every_row

BY_TENANT = "USING (tenant_id::text = current_setting('app.tenant', true))"


@pytest.fixture
def role(connection: psycopg.Connection) -> Iterator[str]:
    name = f"role_{uuid4().hex}"
    connection.execute(f"CREATE ROLE {name} LOGIN".encode())
    yield name
    connection.execute(
        f"REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}; DROP ROLE {name}".encode()
    )


def check(database_url: str, role: str) -> None:
    url = make_url(database_url).set(username=role).render_as_string(hide_password=False)
    with connect(url) as connection:
        check_sees_every_row(connection)


@pytest.mark.parametrize("table", ["campaign_spaces", "campaign_assets", "campaign_metrics", "platform_days"])
@pytest.mark.parametrize(
    "policies",
    [
        [],
        [f"CREATE POLICY app ON {{table}} {BY_TENANT}"],
        ["CREATE POLICY app ON {table} FOR INSERT WITH CHECK (true)"],
        ["CREATE POLICY app ON {table} USING (current_user IS NOT NULL)"],
        [
            "CREATE POLICY app ON {table} USING (true)",
            f"CREATE POLICY less ON {{table}} AS RESTRICTIVE {BY_TENANT}",
        ],
        ["CREATE POLICY app ON {table} FOR UPDATE USING (true)"],
    ],
)
def test_a_policy_that_could_hide_rows_is_refused_with_the_cure(
    connection: psycopg.Connection, database_url: str, role: str, table: str, policies: list[str]
) -> None:
    connection.execute(f"DROP POLICY IF EXISTS everyone ON {table}".encode())
    connection.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY".encode())
    for policy in policies:
        connection.execute(policy.format(table=table).encode())

    with pytest.raises(DatabaseUnfit, match=f"hide rows of {table} from the role") as refused:
        check(database_url, role)

    cure = f'CREATE POLICY engarde_pipeline_sees_all ON {table} TO "{role}" USING (true);'
    assert cure in str(refused.value)
    if "RESTRICTIVE" in "".join(policies):
        assert f"these restrictive policies: less ON {table}" in str(refused.value)
        return
    connection.execute(cure.encode())
    check(database_url, role)


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE POLICY all_of_it ON tenants USING (true)"],
        ["CREATE POLICY a ON tenants USING (id IS NULL)", "CREATE POLICY b ON tenants TO {role} USING (true)"],
        ["CREATE POLICY a ON tenants USING (true)", "CREATE POLICY b ON tenants AS RESTRICTIVE USING (true)"],
        [
            "CREATE POLICY a ON tenants USING (true)",
            "CREATE POLICY b ON tenants AS RESTRICTIVE TO pg_monitor USING (false)",
        ],
        ["ALTER ROLE {role} BYPASSRLS"],
    ],
)
def test_a_role_that_sees_every_row_is_accepted(
    connection: psycopg.Connection, database_url: str, role: str, statements: list[str]
) -> None:
    connection.execute("ALTER TABLE tenants ENABLE ROW LEVEL SECURITY")
    for statement in statements:
        connection.execute(statement.format(role=role).encode())

    check(database_url, role)


def test_an_owner_is_bound_where_row_security_is_forced(
    connection: psycopg.Connection, database_url: str, role: str
) -> None:
    connection.execute(f"ALTER TABLE campaign_spaces OWNER TO {role}".encode())
    connection.execute(b"ALTER TABLE campaign_spaces ENABLE ROW LEVEL SECURITY")
    connection.execute(f"CREATE POLICY app ON campaign_spaces {BY_TENANT}".encode())
    check(database_url, role)

    connection.execute("ALTER TABLE campaign_spaces FORCE ROW LEVEL SECURITY")

    with pytest.raises(DatabaseUnfit, match="BYPASSRLS"):
        check(database_url, role)
