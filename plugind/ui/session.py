"""Identifies the caller of a page, by the session of a browser or by a token in a header.

A browser that signed in has the secret of its session in a cookie; the store has its hash. A
session has the current rights of its token, and none once the token is revoked, has expired, or has
another secret.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from contextlib import suppress

from plugind.acl import Acl
from plugind.acl.tokens import Caller, Token
from plugind.api.origin import cookie_attributes
from plugind.api.request import Request
from plugind.errors import Forbidden, TokenNotFound
from plugind.model import Session
from plugind.model.times import SECOND
from plugind.ui.parts import UiParts

COOKIE = "plugind-session"
"""Holds the secret of a session."""

FORM_COOKIE = "plugind-form"
"""Holds the secret that forms are bound to in a browser that is not signed in."""

LIFETIME = 12 * 3600 * SECOND
"""Nanoseconds until a session ends, unless its token expires earlier."""

_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")


def caller_of(parts: UiParts, acl: Acl, request: Request) -> Caller:
    """Return the caller of a page. Raise TokenNotFound for a header's token that is not valid."""
    now = time.time_ns()
    if acl.enabled and not request.secret and (found := session_of(parts, acl, request, now)):
        return found[1].caller
    return acl.caller(request.secret, now)


def session_of(
    parts: UiParts, acl: Acl, request: Request, now: int
) -> tuple[Session, Token] | None:
    """Return the session of a browser with its token; None unless both are valid."""
    secret = cookie(request, COOKIE)
    session = parts.catalogue.state.sessions.get(key_of(secret)) if secret else None
    if session is None or session.ends <= now:
        return None
    with suppress(TokenNotFound):
        token = acl.held_by(session.accessor, now)
        if hmac.compare_digest(session.token, digest_of(token)):
            return session, token
    return None


def begin(parts: UiParts, token: Token, request: Request, now: int) -> str:
    """Begin a session for a token, with a new secret, in place of the browser's previous session.
    Return the value of the ``Set-Cookie`` header that gives the browser the secret."""
    secret, old = draw(), cookie(request, COOKIE)
    ends = min(now + LIFETIME, token.expires or now + LIFETIME)
    session = Session(key_of(secret), token.caller.accessor, digest_of(token), now, ends)
    parts.intake.sign_in(session, key_of(old) if old else "")
    return set_cookie(parts, request, COOKIE, secret, (ends - now) // SECOND)


def end(parts: UiParts, request: Request) -> str:
    """End the session of a browser. Return the ``Set-Cookie`` value that removes the cookie."""
    if secret := cookie(request, COOKIE):
        parts.intake.sign_out(key_of(secret))
    return set_cookie(parts, request, COOKIE, "", 0)


def set_cookie(parts: UiParts, request: Request, name: str, value: str, seconds: int) -> str:
    """Return the ``Set-Cookie`` value for a cookie that no script and no other path can read."""
    attributes = cookie_attributes(request, parts.trusted)
    return f"{name}={value}; Max-Age={seconds}; HttpOnly; SameSite=Lax{attributes}"


def form_token(secret: str) -> str:
    """Return the token that binds a form to the browser that has a secret."""
    return hashlib.sha256(f"form {secret}".encode()).hexdigest()


def form_secret(parts: UiParts, acl: Acl, request: Request) -> str:
    """Return the secret that a browser's forms are bound to: that of its session, else that of the
    cookie for forms; "" if it has neither yet."""
    if acl.enabled and session_of(parts, acl, request, time.time_ns()):
        return cookie(request, COOKIE)
    return cookie(request, FORM_COOKIE)


def check_form(parts: UiParts, acl: Acl, request: Request, given: str) -> None:
    """Raise Forbidden unless a form carries the token of the browser that sends it."""
    secret = form_secret(parts, acl, request)
    wanted = form_token(secret) if secret else ""
    if not wanted or not hmac.compare_digest(wanted.encode(), given.encode(errors="replace")):
        raise Forbidden("the form is out of date: go back, load the page again, and send it again")


def draw() -> str:
    """Return a new secret of 256 random bits."""
    return secrets.token_urlsafe(32)


def key_of(secret: str) -> str:
    """Return the hash that identifies a session in the store."""
    return hashlib.sha256(secret.encode()).hexdigest()


def digest_of(token: Token) -> str:
    """Return a digest of a token's hash, which changes with its secret."""
    return hashlib.sha256(token.hash).hexdigest()


def cookie(request: Request, name: str) -> str:
    """Return the secret in a cookie of a request, "" if there is none of the form that plugind
    draws. Other cookies are ignored, whatever they contain."""
    for part in request.header("Cookie").split(";"):
        found, _, value = part.strip().partition("=")
        if found == name and _SECRET.fullmatch(value):
            return value
    return ""
