"""TLS to Postgres when the address asks for it, the server's certificate checked."""

import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from engarde_pipeline.postgres.connection import DatabaseUnavailable, connect
from engarde_pipeline_tests.servers import installed_postgres, installed_server


@dataclass
class Secured:
    """A server that takes TLS on a port, with a certificate for `localhost` that `authority` issued."""

    port: int
    authority: Path
    stranger: Path

    def address(self, host: str, **options: str) -> str:
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"postgresql://postgres@{host}:{self.port}/postgres?{query}"


@pytest.fixture(scope="module")
def secured() -> Iterator[Secured]:
    installed_postgres()  # the embedded one is built without TLS
    with TemporaryDirectory(prefix="engarde-tls-") as name:
        directory, port = Path(name), _free_port()
        authority, key = _certificate("An authority")
        stranger, _ = _certificate("A stranger")
        server, server_key = _certificate("localhost", issuer=(authority, key))
        files = {"authority": authority, "stranger": stranger, "server": server}
        for file, certificate in files.items():
            (directory / f"{file}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (directory / "server.key").write_bytes(
            server_key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        (directory / "server.key").chmod(0o600)
        if os.geteuid() == 0:
            shutil.chown(directory / "server.key", "postgres")
        options = (
            f"-h 127.0.0.1 -p {port} -c ssl=on"
            f" -c ssl_cert_file={directory}/server.crt -c ssl_key_file={directory}/server.key"
        )
        with installed_server(directory / "postgres", options):
            yield Secured(port, directory / "authority.crt", directory / "stranger.crt")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _certificate(
    name: str, issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    by, by_key = (issuer[0].subject, issuer[1]) if issuer else (subject, key)
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(name)]) if issuer else None
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(names, critical=False)
    return builder.sign(by_key, hashes.SHA256()), key


def test_an_address_that_asks_for_it_is_encrypted_and_its_server_checked(secured: Secured) -> None:
    address = secured.address("localhost", sslmode="verify-full", sslrootcert=str(secured.authority))
    with connect(address) as connection:
        found = connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
    assert found == (True,)


def test_a_server_with_another_name_is_refused(secured: Secured) -> None:
    address = secured.address("127.0.0.1", sslmode="verify-full", sslrootcert=str(secured.authority))
    with pytest.raises(DatabaseUnavailable, match="does not match host name"):
        connect(address)


def test_a_certificate_of_a_stranger_is_refused(secured: Secured) -> None:
    address = secured.address("localhost", sslmode="verify-full", sslrootcert=str(secured.stranger))
    with pytest.raises(DatabaseUnavailable, match="certificate verify failed"):
        connect(address)


def test_a_server_without_tls_is_refused_where_it_is_asked_for(tmp_path: Path) -> None:
    port = _free_port()
    with (
        TemporaryDirectory(prefix="engarde-plain-") as name,
        installed_server(Path(name) / "postgres", f"-h 127.0.0.1 -p {port}"),
        pytest.raises(DatabaseUnavailable, match="server does not support SSL"),
    ):
        connect(Secured(port, tmp_path, tmp_path).address("127.0.0.1", sslmode="require"))
