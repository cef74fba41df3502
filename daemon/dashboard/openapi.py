"""The OpenAPI document, and the page that shows it without loading anything from outside."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import Response

from ..api import shapes
from .pages import render_page

_PROBLEM: Final = {
    "description": "What went wrong (RFC 9457).",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_METHODS: Final = ("get", "post", "patch", "delete")


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the document: FastAPI's, with problem documents as its errors and bearer tokens as its security."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
        )
        components = document.setdefault("components", {})
        components.setdefault("schemas", {})["Problem"] = shapes.Problem.model_json_schema()
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
        document["paths"] = {path.replace(":id}", "}"): routes for path, routes in document["paths"].items()}
        for operation in _operations(document):
            operation["responses"].pop("422", None)
            for status, answer in operation["responses"].items():
                answer["description"] = HTTPStatus(int(status)).phrase
            operation["responses"]["default"] = _PROBLEM
        for unused in ("HTTPValidationError", "ValidationError"):
            components["schemas"].pop(unused, None)
        app.openapi_schema = document
    return app.openapi_schema


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for routes in document["paths"].values():
        yield from (routes[method] for method in _METHODS if method in routes)


def documentation(app: FastAPI) -> APIRouter:
    """Return the route of the page."""
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    async def docs(request: Request) -> Response:
        return render_page("docs.html", request, document=app.openapi())

    return router
