"""An identity provider of OpenID Connect over real HTTP, which can also misbehave."""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from pydantic import SecretStr

from engarde_pipeline.settings import OidcSettings

CLIENT_ID, CLIENT_SECRET = "engarde page", "secret of: the client"
"""With characters that a header of the authentication has to escape."""

_RSA_KEYS = [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2)]
_EC_KEY = ec.generate_private_key(ec.SECP256R1())


@dataclass
class _Code:
    """What the provider knows of a code that it has issued."""

    redirect_uri: str
    nonce: str
    challenge: str


@dataclass
class Provider:
    """The provider. Tests change its attributes to make it answer as they need."""

    url: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    """Claims of the ID token beside the usual ones; None leaves a claim out."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Changes of the metadata; None leaves an entry out."""
    answers: dict[str, str] = field(default_factory=dict)
    """Parameters with which people are sent back, instead of a code."""
    make_token: Callable[[dict[str, Any]], str] | None = None
    """Makes the ID token of its claims, instead of a signature with the current key."""
    token_response: tuple[int, Any] | None = None
    key: int = 0
    """The RSA key that signs now."""
    signs_with_ec: bool = False
    keys_response: tuple[int, Any] | None = None
    asks: bool = False
    """Whether people are shown a form first, as by a real provider."""
    hold: dict[str, threading.Event] = field(default_factory=dict)
    """Paths that are not answered before an event."""
    requests: list[str] = field(default_factory=list)
    codes: dict[str, _Code] = field(default_factory=dict)

    def settings(self, public_url: str, **changes: Any) -> OidcSettings:
        """Return the settings of a server that uses this provider."""
        values = {
            "issuer": self.url,
            "client_id": CLIENT_ID,
            "client_secret": SecretStr(CLIENT_SECRET),
            "audience": CLIENT_ID,
            "tenant_claim": "tenant_ids",
            "public_url": public_url,
        }
        return OidcSettings(**{**values, **changes})

    def variables(self, public_url: str) -> dict[str, Any]:
        """Return the same as fields of the API's settings."""
        return {
            "oidc_issuer": self.url,
            "oidc_client_id": CLIENT_ID,
            "oidc_client_secret": SecretStr(CLIENT_SECRET),
            "api_public_url": public_url,
        }

    def described(self) -> dict[str, Any]:
        """Return the metadata."""
        found = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "end_session_endpoint": f"{self.url}/end",
            "id_token_signing_alg_values_supported": ["RS256", "ES256", "HS256", "none"],
            **self.metadata,
        }
        return {name: value for name, value in found.items() if value is not None}

    def public_keys(self) -> dict[str, Any]:
        """Return the keys with which tokens are signed now."""
        keys = {f"rsa-{self.key}": RSAAlgorithm.to_jwk(_RSA_KEYS[self.key].public_key(), as_dict=True)}
        keys["ec"] = ECAlgorithm.to_jwk(_EC_KEY.public_key(), as_dict=True)
        return {"keys": [{**key, "kid": kid, "use": "sig"} for kid, key in keys.items()]}

    def sign(self, claims: dict[str, Any]) -> str:
        """Return an ID token."""
        if self.signs_with_ec:
            return jwt.encode(claims, _EC_KEY, "ES256", {"kid": "ec"})
        return jwt.encode(claims, _RSA_KEYS[self.key], "RS256", {"kid": f"rsa-{self.key}"})

    def id_token(self, nonce: str) -> str:
        """Return the ID token of a login."""
        now = int(time.time())
        usual = {"iss": self.url, "sub": "ada", "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": nonce}
        claims = {name: value for name, value in {**usual, **self.claims}.items() if value is not None}
        return (self.make_token or self.sign)(claims)

    def authorize(self, query: dict[str, str]) -> str:
        """Return the address to which a person is sent back."""
        assert query["client_id"] == CLIENT_ID
        assert (query["response_type"], query["code_challenge_method"]) == ("code", "S256")
        assert "openid" in query["scope"].split()
        code = secrets.token_urlsafe()
        self.codes[code] = _Code(query["redirect_uri"], query["nonce"], query["code_challenge"])
        answer = {"state": query["state"], "code": code}
        if self.answers:
            answer = {"state": query["state"], **self.answers}
        return f"{query['redirect_uri']}?{urlencode(answer)}"

    def redeem(self, form: dict[str, str], authorization: str) -> tuple[int, Any]:
        """Return the answer to a request for tokens."""
        if self.token_response:
            return self.token_response
        identity = f"{quote(CLIENT_ID)}:{quote(CLIENT_SECRET)}", f"{CLIENT_ID}:{CLIENT_SECRET}"
        if authorization not in [f"Basic {base64.b64encode(each.encode()).decode()}" for each in identity]:
            return 401, {"error": "invalid_client"}
        code = self.codes.pop(form.get("code", ""), None)
        challenge = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if code is None or code.redirect_uri != form["redirect_uri"]:
            return 400, {"error": "invalid_grant", "error_description": "<b>no such code</b>"}
        if base64.urlsafe_b64encode(challenge).rstrip(b"=").decode() != code.challenge:
            return 400, {"error": "invalid_grant", "error_description": "wrong verifier"}
        return 200, {"access_token": "x", "token_type": "Bearer", "id_token": self.id_token(code.nonce)}


class _Handler(BaseHTTPRequestHandler):
    provider: Provider

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name in http.server
        pass

    def do_GET(self) -> None:
        path, query = self._noted()
        provider = self.provider
        if path == "/.well-known/openid-configuration":
            self._json(200, provider.described())
        elif path == "/keys":
            self._json(*(provider.keys_response or (200, provider.public_keys())))
        elif path == "/authorize" and provider.asks:
            self._page('<form method="post"><button>Sign in as Ada</button></form>')
        elif path == "/authorize":
            self._redirect(provider.authorize(query))
        elif path == "/end":
            self._redirect(query["post_logout_redirect_uri"])
        else:
            self._json(404, {})

    def do_POST(self) -> None:
        path, query = self._noted()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        if path == "/authorize":
            self._redirect(self.provider.authorize(query))
        else:
            form = dict(parse_qsl(body))
            self._json(*self.provider.redeem(form, self.headers.get("Authorization", "")))

    def _noted(self) -> tuple[str, dict[str, str]]:
        path, query = urlsplit(self.path).path, urlsplit(self.path).query
        self.provider.requests.append(path)
        if path in self.provider.hold:
            self.provider.hold[path].wait(60)
        return path, dict(parse_qsl(query))

    def _json(self, status: int, content: Any) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self._send(status, body, {"Content-Type": "application/json"})

    def _page(self, content: str) -> None:
        self._send(200, f"<!doctype html><title>Provider</title>{content}".encode(), {"Content-Type": "text/html"})

    def _redirect(self, address: str) -> None:
        self._send(302, b"", {"Location": address})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def running_provider() -> Iterator[Provider]:
    """Run a provider for as long as the block lasts."""
    provider = Provider()
    handler = type("Handler", (_Handler,), {"provider": provider})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        provider.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield provider
        finally:
            for event in provider.hold.values():
                event.set()
            server.shutdown()
            thread.join()
