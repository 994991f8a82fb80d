"""Connections: every form of address works, and what cannot be reached is told without its password."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg import sql
from sqlalchemy.engine import make_url

from engarde_pipeline.postgres.connection import DatabaseUnavailable, connect, create_engine
from engarde_pipeline.postgres.schema import migrate

SECRET = "s3cr3t/p@ss:w%rd +'"  # noqa: S105
QUOTED = "s3cr3t%2Fp%40ss%3Aw%25rd%20%2B%27"


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def password_url(database_url: str) -> str:
    """The address of a user with a password, `SECRET`, that the server asks for."""
    user = f"user_{uuid4().hex}"
    with connect(database_url) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(user), SECRET))
        (hba_file,) = connection.execute("SHOW hba_file").fetchone() or ()
        rules = Path(hba_file)
        rules.write_text(f"local all {user} scram-sha-256\n{rules.read_text()}")
        connection.execute("SELECT pg_reload_conf()")
    url = make_url(database_url).set(username=user, password="wrong")  # noqa: S106
    deadline = time.monotonic() + 30
    while True:  # the server reads the rules when it gets to it
        try:
            connect(url.render_as_string(hide_password=False)).close()
        except DatabaseUnavailable:
            return url.set(password=SECRET).render_as_string(hide_password=False)
        assert time.monotonic() < deadline, "the server does not ask for a password"
        time.sleep(0.01)


def assert_without_password(message: str) -> None:
    for part in (SECRET, QUOTED, "s3cr3t", "p@ss"):
        assert part not in message


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2"])
def test_every_form_of_address_connects(database_url: str, scheme: str) -> None:
    url = make_url(database_url).set(drivername=scheme).render_as_string(hide_password=False)

    with connect(url) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == (make_url(database_url).database,)
    with create_engine(url).connect() as connected:
        assert connected.exec_driver_sql("SELECT 1").scalar() == 1


def test_a_connection_commits_by_itself_and_says_whose_it_is(database_url: str) -> None:
    with connect(database_url) as connection:
        assert connection.autocommit
        assert connection.execute("SHOW application_name").fetchone() == ("engarde_pipeline",)


def test_libpqs_options_in_the_address_are_honoured(database_url: str) -> None:
    options = {"options": "-c geqo_threshold=7", "application_name": "a b+c"}
    url = make_url(database_url).update_query_dict(options)

    with connect(url.render_as_string(hide_password=False)) as connection:
        assert connection.execute("SHOW geqo_threshold").fetchone() == ("7",)
        assert connection.execute("SHOW application_name").fetchone() == ("a b+c",)


def test_a_password_is_taken_character_by_character(password_url: str) -> None:
    with connect(password_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_an_option_that_libpq_does_not_know_is_named(database_url: str) -> None:
    url = make_url(database_url).update_query_dict({"sslmoode": "require"})

    with pytest.raises(DatabaseUnavailable, match="sslmoode"):
        connect(url.render_as_string(hide_password=False))


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
def test_a_server_that_is_not_there_is_named_without_the_password(closed_port: int, scheme: str) -> None:
    with pytest.raises(DatabaseUnavailable) as unavailable:
        connect(f"{scheme}://someone:{QUOTED}@127.0.0.1:{closed_port}/engarde")

    message = str(unavailable.value)
    for part in ("127.0.0.1", str(closed_port), "someone", "engarde", "DATABASE_URL"):
        assert part in message
    assert_without_password(message)
    assert "\n" not in message


def test_a_password_given_as_an_option_is_not_shown_either(closed_port: int) -> None:
    with pytest.raises(DatabaseUnavailable) as unavailable:
        connect(f"postgresql://someone@127.0.0.1:{closed_port}/engarde?password={QUOTED}")

    assert_without_password(str(unavailable.value))


def test_a_host_name_that_does_not_exist_is_named_without_the_password() -> None:
    with pytest.raises(DatabaseUnavailable, match=r"no-such-host\.invalid") as unavailable:
        connect(f"postgresql://someone:{QUOTED}@no-such-host.invalid/engarde")

    assert_without_password(str(unavailable.value))


def test_a_wrong_password_is_told_without_it(password_url: str) -> None:
    wrong = make_url(password_url).set(password=SECRET[::-1]).render_as_string(hide_password=False)

    with pytest.raises(DatabaseUnavailable, match="password authentication failed") as unavailable:
        connect(wrong)

    assert SECRET[::-1] not in str(unavailable.value)


def test_a_user_that_does_not_exist_is_named(database_url: str) -> None:
    with pytest.raises(DatabaseUnavailable, match='role "missing" does not exist'):
        connect(make_url(database_url).set(username="missing").render_as_string(hide_password=False))


def test_a_database_that_does_not_exist_is_named(database_url: str) -> None:
    with pytest.raises(DatabaseUnavailable, match='database "missing" does not exist'):
        connect(make_url(database_url).set(database="missing").render_as_string(hide_password=False))


def test_migrations_say_it_the_same_way(closed_port: int) -> None:
    with pytest.raises(DatabaseUnavailable) as unavailable:
        migrate.upgrade(f"postgresql://someone:{QUOTED}@127.0.0.1:{closed_port}/engarde")

    assert_without_password(str(unavailable.value))


def test_the_password_stands_in_no_cause_of_the_error(closed_port: int) -> None:
    with pytest.raises(DatabaseUnavailable) as unavailable:
        connect(f"postgresql://someone:{QUOTED}@127.0.0.1:{closed_port}/engarde")

    assert unavailable.value.__cause__ is None
    assert unavailable.value.__suppress_context__
