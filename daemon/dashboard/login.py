"""How a browser shows a token: typed into a form once, and then a session in a cookie that only reads."""

from __future__ import annotations

from urllib.parse import parse_qs

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ..http.sessions import COOKIE, LIFETIME, new_session
from ..http.tokens import Tokens
from .pages import render_page


def login(tokens: Tokens) -> APIRouter:
    """Return the routes."""
    router = APIRouter(include_in_schema=False)

    @router.get("/login")
    async def form(request: Request) -> Response:
        return render_page("login.html", request, next=_back(request), wrong=False)

    @router.post("/login")
    async def enter(request: Request) -> Response:
        typed = parse_qs((await request.body()).decode("utf-8", "replace")).get("token", [""])[0]
        token = tokens.find(typed.strip())
        if token is None:
            return render_page("login.html", request, status=401, next=_back(request), wrong=True)
        answer = RedirectResponse(_back(request), 303)
        secure = request.headers.get("x-forwarded-proto") == "https"
        answer.set_cookie(COOKIE, new_session(token), max_age=LIFETIME, httponly=True, samesite="strict", secure=secure)
        return answer

    @router.post("/logout")
    async def leave() -> Response:
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    return router


def _back(request: Request) -> str:
    """Return the page to go to after the login: one of ours, wherever the link came from."""
    wanted = request.query_params.get("next", "/")
    ours = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return wanted if ours else "/"
