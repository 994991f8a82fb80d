"""Addresses: every form with one host or several is understood, and shown without its password."""

import pytest
from sqlalchemy.exc import ArgumentError

from engarde_pipeline.core import addresses


@pytest.mark.parametrize(
    ("address", "hosts", "ports"),
    [
        ("postgresql://u:p@a:1,b:2/db", "a,b", "1,2"),
        ("postgres://u:p,w@a,b:2/db?sslmode=require", "a,b", ",2"),
        ("postgresql+psycopg://u@a,b/db", "a,b", None),
        ("postgresql://[::1]:1,[fe80::2]:2,c/db", "::1,fe80::2,c", "1,2,"),
        ("postgresql://u@%2Fsrv:1,%2Fvar%2Frun:2/db", "/srv,/var/run", "1,2"),
        ("postgresql://u@/db?host=a:1&host=b:2", "a,b", "1,2"),
        ("postgresql://u@/db?host=a:1&host=b&port=9", "a,b", "1,9"),
        ("postgresql://u@/db?host=a&host=b&port=1&port=2", "a,b", "1,2"),
        ("postgresql://u@/db?host=a,b&port=1,2", "a,b", "1,2"),
        ("postgresql://u@/db?host=::1&host=b", "::1,b", None),
    ],
)
def test_several_hosts_are_understood_in_every_form(address: str, hosts: str, ports: str | None) -> None:
    url = addresses.parse(address)

    assert (url.host, url.port, url.database) == (None, None, "db")
    assert url.query["host"] == hosts
    assert url.query.get("port") == ports
    assert addresses.names_several_hosts(url)
    assert addresses.parse(url.render_as_string(hide_password=False)) == url


@pytest.mark.parametrize("address", ["postgresql://u:p@a:1/db", "postgresql:///db?host=/tmp", "postgresql://a/db"])
def test_one_host_stays_where_it_is(address: str) -> None:
    assert addresses.parse(address).render_as_string(hide_password=False).replace("%2F", "/") == address
    assert not addresses.names_several_hosts(addresses.parse(address))


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:s3cret@x@a:1/db",
        "postgresql://u:s3cret@x@a:1,b:2/db",
        "postgresql://a:1,b:port/db",
        "postgresql://a:port/db",
        "nothing",
    ],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises((ArgumentError, ValueError)):
        addresses.parse(address)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://u:s3cret@a:1,b:2/db", "postgresql://u:***@a:1,b:2/db"),
        ("postgresql://u:s3cret@a,b/db?sslpassword=s3cret", "postgresql://u:***@a,b/db"),
        ("postgresql://u@/db?host=a,b&port=7&password=s3cret", "postgresql://u@a:7,b:7/db"),
        ("postgresql://u:s3cret@a:1/db", "postgresql://u:***@a:1/db"),
    ],
)
def test_an_address_is_shown_as_people_write_it_without_its_password(address: str, shown: str) -> None:
    assert addresses.shown(addresses.parse(address)) == shown
