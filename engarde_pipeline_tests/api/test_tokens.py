"""Hostile tokens: none gets in, and the answer tells nothing but that."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest

from engarde_pipeline.api.errors import Problem
from engarde_pipeline.api.tokens import mint, verify
from engarde_pipeline.settings import InvalidSettings, load_api_settings
from engarde_pipeline_tests.api.service import SECRET

TENANT = UUID("aaaaaaaa-0000-4000-8000-00000000000a")
LATER = datetime.now(UTC) + timedelta(hours=1)
CLAIMS: dict[str, Any] = {"tenant_id": str(TENANT), "exp": LATER, "sub": "u1"}


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _unsigned(algorithm: str) -> str:
    claims = CLAIMS | {"exp": int(LATER.timestamp())}
    return f"{_part({'alg': algorithm, 'typ': 'JWT'})}.{_part(claims)}."


def _tampered() -> str:
    head, _, signature = jwt.encode(CLAIMS, SECRET, "HS256").split(".")
    return f"{head}.{_part({**CLAIMS, 'exp': int(LATER.timestamp()), 'tenant_id': str(uuid4())})}.{signature}"


HOSTILE = {
    "not a token": "x",
    "empty parts": "..",
    "no signature": _unsigned("none"),
    "no signature, spelled otherwise": _unsigned("NonE"),
    "signature taken off": jwt.encode(CLAIMS, SECRET, "HS256").rsplit(".", 1)[0] + ".",
    "another secret": jwt.encode(CLAIMS, SECRET + "x", "HS256"),
    "another length of hash": jwt.encode(CLAIMS, SECRET * 2, "HS512"),
    "HS384 with the right secret": jwt.encode(CLAIMS, SECRET + "-" * 8, "HS384"),
    "a public key's algorithm": _unsigned("RS256") + "AAAA",
    "expired": jwt.encode({**CLAIMS, "exp": datetime.now(UTC) - timedelta(seconds=1)}, SECRET, "HS256"),
    "never expires": jwt.encode({"tenant_id": str(TENANT)}, SECRET, "HS256"),
    "exp is no number": jwt.encode({**CLAIMS, "exp": None}, SECRET, "HS256"),
    "not valid yet": jwt.encode({**CLAIMS, "nbf": LATER}, SECRET, "HS256"),
    "another tenant written over": _tampered(),
    "a key of its own in the header": jwt.encode(CLAIMS, "y" * 32, "HS256", {"kid": "../../dev/null", "jku": "x"}),
}


@pytest.mark.parametrize("token", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_token_is_refused(token: str) -> None:
    with pytest.raises(Problem) as refused:
        verify(token, SECRET)

    assert refused.value.status == 401
    assert refused.value.headers == {"WWW-Authenticate": "Bearer"}


@pytest.mark.parametrize("tenant", [None, "", "acme", "*", 7, ["x"], {"id": "x"}, f"{TENANT}' OR 1=1"])
def test_a_token_without_a_tenant_is_not_allowed_anything(tenant: object) -> None:
    with pytest.raises(Problem) as refused:
        verify(jwt.encode({**CLAIMS, "tenant_id": tenant}, SECRET, "HS256"), SECRET)

    assert refused.value.status == 403


def test_a_good_token_says_who_calls() -> None:
    caller = verify(mint(SECRET, TENANT, "u7", timedelta(hours=1), "sync:all other"), SECRET)

    assert (caller.tenant_id, caller.user_id, caller.may_sync_all) == (TENANT, "u7", True)


@pytest.mark.parametrize("claim", ["iat", "nbf"])
def test_a_clock_that_is_a_little_ahead_is_no_reason_to_refuse(claim: str) -> None:
    def ahead(seconds: int) -> str:
        return jwt.encode({**CLAIMS, claim: datetime.now(UTC) + timedelta(seconds=seconds)}, SECRET, "HS256")

    assert verify(ahead(5), SECRET).tenant_id == TENANT
    with pytest.raises(Problem, match="clock") as refused:
        verify(ahead(600), SECRET)
    assert refused.value.status == 401


@pytest.mark.parametrize("scope", ["sync:allx", "", ["sync:all"], {"sync:all": True}])
def test_a_scope_is_a_word_of_the_scope_claim(scope: object) -> None:
    assert not verify(jwt.encode({**CLAIMS, "scope": scope}, SECRET, "HS256"), SECRET).may_sync_all


@pytest.mark.parametrize(
    ("secret", "cure"),
    [("", "is missing"), ("hunter2", "is too short"), ("é" * 15, "is too short"), ("abc" * 20, "repeats")],
)
def test_a_weak_or_missing_secret_is_refused_at_start(
    secret: str, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:p@host/app")
    monkeypatch.setenv("API_DATABASE_URL", "postgresql://engarde_api:p@host/app")
    monkeypatch.setenv("JWT_SECRET_KEY", secret)

    with pytest.raises(InvalidSettings, match=f"JWT_SECRET_KEY: {cure}") as refused:
        load_api_settings()

    assert not secret or secret not in str(refused.value)


@pytest.mark.parametrize("sub", ["a\x00b", "\ud800", ["u1"], {"id": "u1"}, 1.5, "\x1b[2J"])
def test_a_user_that_is_no_text_is_refused(sub: object) -> None:
    with pytest.raises(Problem) as refused:
        verify(jwt.encode({**CLAIMS, "sub": sub}, SECRET, "HS256"), SECRET)

    assert refused.value.status == 401


def test_a_user_may_be_a_number() -> None:
    assert verify(jwt.encode({**CLAIMS, "sub": 7}, SECRET, "HS256"), SECRET).user_id == "7"
