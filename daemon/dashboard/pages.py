"""Pages: rendered here, whole, with everything that they need in them; nothing is loaded from anywhere else."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from secrets import token_urlsafe
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from ...engine.clock import rfc3339
from ..http.paths import encoded
from ..words import ago, clock, count, duration, number
from .chart import in_words

_HOME: Final = Path(__file__).parent


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HOME / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = environment.filters
    filters.update(
        encoded=encoded,
        instant=rfc3339,
        clock=clock,
        ago=ago,
        duration=duration,
        count=count,
        number=number,
        prose=prose,
        deliveries=in_words,
    )
    names: dict[str, Any] = environment.globals
    names.update(style=_asset("dashboard.css"), script=_asset("dashboard.js"))
    return environment


def _asset(name: str) -> Markup:
    return Markup((_HOME / "static" / name).read_text(encoding="utf-8"))


def prose(text: str) -> Markup:
    """Return a text in which what stands between backticks is code."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if odd % 2 else part for odd, part in enumerate(parts)
    )


def render(template: str, **values: Any) -> str:
    """Render a template, or a part of a page."""
    return _environment().get_template(template).render(**values)


def render_page(template: str, request: Request, *, status: int = 200, **values: Any) -> Response:
    """Answer with a page that may load nothing, and whose only script and style are its own."""
    nonce = token_urlsafe(16)
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; "
        "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    headers = {
        "content-security-policy": policy,
        "cache-control": "no-store",
        "referrer-policy": "same-origin",
        "x-content-type-options": "nosniff",
    }
    page = render(template, nonce=nonce, path=request.url.path, **values)
    return Response(page, status, headers=headers, media_type="text/html")
