"""`engarde db grants`: grants what deploy/postgres-role.sql grants, and says what it cannot grant."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from sqlalchemy.engine import make_url

from engarde_pipeline.api.database import check_isolation
from engarde_pipeline.postgres.connection import connect
from engarde_pipeline.postgres.reads.diagnosis import check_permissions, check_schema
from engarde_pipeline.postgres.schema.grants import GrantRefused, grant_api, grant_sync
from engarde_pipeline.postgres.schema.migrate import SchemaNotCurrent
from engarde_pipeline_tests.role_script import run_role_script

PRIVILEGES_OF = """
SELECT table_name || ': ' || privilege_type FROM information_schema.role_table_grants WHERE grantee = %(role)s
UNION ALL
SELECT privilege FROM unnest(ARRAY['CONNECT', 'TEMPORARY', 'CREATE']) AS privilege
WHERE has_database_privilege(%(role)s, current_database(), privilege)
UNION ALL
SELECT nspname || ': ' || privilege FROM pg_namespace, unnest(ARRAY['USAGE', 'CREATE']) AS privilege
WHERE has_schema_privilege(%(role)s, oid, privilege)
UNION ALL
SELECT array_to_string(setconfig, ' ') FROM pg_db_role_setting
WHERE setrole = quote_ident(%(role)s)::regrole
  AND setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY 1
"""


@pytest.fixture
def role(database_url: str) -> Iterator[str]:
    """A role that can log in, and has no rights in a database that grants nothing to everyone."""
    name = f"Role {uuid4().hex}"
    with connect(database_url) as administrator:
        database = administrator.info.dbname
        administrator.execute(f'CREATE ROLE "{name}" LOGIN'.encode())
        administrator.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC".encode())
        yield name
        administrator.execute(f'DROP OWNED BY "{name}" CASCADE'.encode())
        administrator.execute(f'DROP ROLE "{name}"'.encode())


def login(database_url: str, role: str) -> str:
    return make_url(database_url).set(username=role).render_as_string(hide_password=False)


def rights(database_url: str, role: str) -> list[str]:
    with connect(database_url) as connection:
        return [row[0] for row in connection.execute(PRIVILEGES_OF, {"role": role}).fetchall()]


def test_the_role_gets_exactly_what_the_script_grants_and_can_sync(database_url: str, role: str) -> None:
    run_role_script(database_url).check_returncode()

    assert grant_sync(database_url, role) == []

    assert rights(database_url, role) == rights(database_url, "engarde_pipeline")
    check_schema(login(database_url, role))
    check_permissions(login(database_url, role))


def test_a_login_of_the_api_is_restricted_to_one_tenant(database_url: str, role: str) -> None:
    assert grant_api(database_url, role) == []

    check_isolation(login(database_url, role))


def test_a_role_that_does_not_exist_is_named_with_the_statement_that_creates_it(database_url: str) -> None:
    with pytest.raises(GrantRefused, match='CREATE ROLE "nobody here" LOGIN'):
        grant_sync(database_url, "nobody here")


def test_a_login_that_may_not_grant_is_told_so_and_nothing_is_granted(database_url: str, role: str) -> None:
    grant_sync(database_url, role)
    before = rights(database_url, "engarde_api")

    with pytest.raises(GrantRefused, match=r"may not run GRANT .* Set DATABASE_URL to the login of the owner"):
        grant_sync(login(database_url, role), "engarde_api")

    assert rights(database_url, "engarde_api") == before


def test_a_database_that_is_not_migrated_is_named(empty_database_url: str) -> None:
    with pytest.raises(SchemaNotCurrent, match="engarde db upgrade"):
        grant_sync(empty_database_url, "postgres")
