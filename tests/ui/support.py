"""Helpers for tests of pages: reading HTML, and browsers that are signed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from urllib.parse import urlencode

from tests.support import Answer, Api


@dataclass
class Page(HTMLParser):
    """A page as a parser sees it: its tags with their attributes, and its text."""

    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def form(self) -> str:
        """Return the token of the page's last form."""
        return [each["value"] for each in self.all("input") if each.get("name") == "form"][-1]


def parsed(answer: Answer) -> Page:
    page = Page()
    page.feed(answer.text)
    page.close()
    return page


@dataclass
class Browser:
    """A browser without scripts: it keeps cookies, and submits forms unchanged."""

    api: Api
    headers: Mapping[str, str] = field(default_factory=dict)
    host: str = "localhost"
    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **headers: str) -> Answer:
        return self._ask("GET", path, None, headers)

    def post(self, path: str, fields: Mapping[str, str], **headers: str) -> Answer:
        body = urlencode(fields).encode()
        given = {"Origin": f"http://{self.host}", "Host": self.host, **headers}
        given["Content-Type"] = "application/x-www-form-urlencoded"
        return self._ask("POST", path, body, given)

    def sign_in(self, secret: str) -> Answer:
        form = parsed(self.get("/ui/signin")).form
        return self.post("/ui/signin", {"form": form, "token": secret})

    def _ask(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        given = {**self.headers, **headers, **({"Cookie": cookie} if cookie else {})}
        answer = self.api.call(method, path, body, {k: v for k, v in given.items() if v})
        found: SimpleCookie = SimpleCookie(answer.headers.get("set-cookie", ""))
        for name, morsel in found.items():
            self.cookies[name] = morsel.value
            if morsel["max-age"] == "0":
                del self.cookies[name]
        return answer
