"""Rows for people and for programs: as a table, JSON, JSON lines or CSV.

What stations and strangers said of themselves may hold anything, also what would move a terminal's cursor: for people
it is printed with such characters written out.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from textwrap import indent
from typing import Any, Final

import click

Row = Mapping[str, Any]

FORMATS: Final = ("table", "json", "jsonl", "csv")


def print_rows(rows: Iterable[Row], columns: Sequence[str], form: str) -> None:
    """Print rows. A table and CSV show the columns; JSON shows all of a row."""
    if form == "json":
        _print_json(rows)
    elif form == "jsonl":
        for row in rows:
            click.echo(json.dumps(row, ensure_ascii=False))
    elif form == "csv":
        print_csv(rows, columns)
    else:
        _print_table(rows, columns)


def _print_json(rows: Iterable[Row]) -> None:
    """Print rows as one JSON list, row by row: there may be more of them than memory."""
    before = "["
    for row in rows:
        click.echo(f"{before}\n{indent(json.dumps(row, indent=2, ensure_ascii=False), '  ')}", nl=False)
        before = ","
    click.echo("[]" if before == "[" else "\n]")


def print_csv(rows: Iterable[Row], columns: Sequence[str]) -> None:
    """Print rows as CSV (RFC 4180)."""
    writer = csv.writer(sys.stdout)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(column)) for column in columns])


def print_object(values: Row, form: str) -> None:
    """Print one object: a line for each of its values, or JSON."""
    if form == "json":
        click.echo(json.dumps(values, indent=2, ensure_ascii=False))
        return
    width = max(map(len, values), default=0)
    for key, value in values.items():
        click.echo(f"{key:<{width}}  {visible(_cell(value))}")


def visible(text: str) -> str:
    """Return a text in which what cannot be seen is written out."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _print_table(rows: Iterable[Row], columns: Sequence[str]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        # An id is copied from there: it stays in one piece, whatever the others are left with.
        table.add_column(column, overflow="fold", no_wrap=column == "id")
    for row in rows:
        table.add_row(*(Text(visible(_cell(row.get(column)))) for column in columns))
    # Where no terminal is, a line must not be broken.
    console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=10_000)
    console.print(table)


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list():
            return " ".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType]
        case dict():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return str(value)
