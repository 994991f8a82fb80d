"""Postgres addresses in the forms of SQLAlchemy and libpq, with one or several hosts."""

import re
from collections.abc import Sequence
from urllib.parse import unquote

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

_SEVERAL_HOSTS = re.compile(
    r"(?P<start>[\w+]+://(?:[^:/]*(?::[^@]*)?@)?)(?P<hosts>[^/?]*,[^/?]*)(?P<rest>.*)", re.DOTALL
)
_HOST_AND_PORT = re.compile(r"(?:\[(?P<ipv6>[^\]]+)\]|(?P<host>[^:]*))(?::(?P<port>\d*))?")


def parse(address: str) -> URL:
    """Return `address` as a URL; several hosts are put into its query part, as `host=a,b&port=1,2`.

    This form works with SQLAlchemy and libpq. Also accepted are libpq's `postgresql://a:1,b:2/db` and SQLAlchemy's
    `?host=a:1&host=b:2`.

    Raises:
        ArgumentError, ValueError: this is not an address. The message may contain the password.
    """
    several = _SEVERAL_HOSTS.fullmatch(address)
    if several:
        url = make_url(several["start"] + several["rest"])
        return _with_hosts(url, [unquote(host) for host in several["hosts"].split(",")])
    url = make_url(address)
    if url.host and "@" in url.host:
        raise ArgumentError("an @ in the password must be written as %40")
    hosts = [part for value in url.normalized_query.get("host", ()) for part in value.split(",")]
    ports = [part for value in url.normalized_query.get("port", ()) for part in value.split(",")]
    if len(url.normalized_query.get("host", ())) > 1 or any(_port(host) for host in hosts):
        return _with_hosts(url, hosts, ports)
    return url


def names_several_hosts(url: URL) -> bool:
    """Return whether a connection may be made to one of several servers."""
    return "," in _text(url, "host") or "," in _text(url, "hostaddr")


def shown(url: URL) -> str:
    """Return the address without passwords, for messages."""
    url = url.difference_update_query(("password", "sslpassword"))
    hosts = _text(url, "host").split(",")
    if len(hosts) == 1:
        return url.render_as_string(hide_password=True)
    ports = _text(url, "port").split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    pairs = [f"{host}:{port}" if port else host for host, port in zip(hosts, ports, strict=False)]
    text = url.difference_update_query(("host", "port")).set(host="several-hosts")
    return text.render_as_string(hide_password=True).replace("several-hosts", ",".join(pairs), 1)


def with_connect_timeout(address: str, seconds: int) -> str:
    """Return the address with another limit for the time until a connection is made."""
    return (
        parse(address).update_query_dict({"connect_timeout": str(seconds)}).render_as_string(hide_password=False)
    )


def _with_hosts(url: URL, hosts: Sequence[str], ports: Sequence[str] = ()) -> URL:
    defaults = list(ports) * len(hosts) if len(ports) == 1 else [*ports, *[""] * (len(hosts) - len(ports))]
    names = [_name(host) for host in hosts]
    numbers = [_port(host) or port for host, port in zip(hosts, defaults, strict=False)]
    port = {"port": ",".join(numbers)} if any(numbers) else {}
    return url.update_query_dict({"host": ",".join(names), **port})


def _name(host: str) -> str:
    if host.count(":") > 1 and not host.startswith("["):  # IPv6, without a port
        return host
    match = _HOST_AND_PORT.fullmatch(host)
    if match is None or "@" in host:
        raise ArgumentError("a host is not well-formed")
    return match["ipv6"] or match["host"]


def _port(host: str) -> str:
    match = re.fullmatch(r"(?:\[[^\]]+\]|[^:\[\]]*):(\d+)", host)
    return match[1] if match else ""


def _text(url: URL, name: str) -> str:
    return ",".join(url.normalized_query.get(name, ()))
