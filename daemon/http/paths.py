"""Ids in paths: percent-encoded, as a station's id stands in the URL that it dials."""

from __future__ import annotations

from urllib.parse import quote, unquote

from starlette.convertors import Convertor, register_url_convertor


class IdConvertor(Convertor[str]):
    """One segment of a path, in which `%2F` is a slash of the id: `{id:id}`."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        return unquote(value)

    def to_string(self, value: str) -> str:
        return encoded(value)


def encoded(id: str) -> str:
    """Write an id as a segment of a path."""
    return quote(id, safe="")


register_url_convertor("id", IdConvertor())
