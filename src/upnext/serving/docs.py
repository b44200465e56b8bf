"""/docs: every endpoint on one page, made from the OpenAPI description. Nothing is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
h2{font-size:1rem;margin:2rem 0 .2rem}code{font:13px ui-monospace,monospace}p{margin:.2rem 0}
.method{display:inline-block;min-width:4.5rem;font-weight:700;color:#0a5fb4}
table{border-collapse:collapse;width:100%;margin:.4rem 0}td{border-top:1px solid #dde2e7;padding:.25rem .6rem .25rem 0;
vertical-align:top}td:first-child{white-space:nowrap}small{color:#5b6672}
@media(prefers-color-scheme:dark){body{background:#14181d;color:#e4e8ec}td{border-color:#323a43}.method{color:#6db3ff}
small{color:#93a0ad}}
"""


def docs_page(openapi: Mapping[str, Any]) -> str:
    """The page, as HTML."""
    title = escape(f"{openapi['info']['title']} {openapi['info']['version']}")
    endpoints = "".join(
        _endpoint(openapi, path, method, operation)
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    )
    intro = escape(openapi["info"].get("description", ""))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1><p>{intro}</p>"
        f"<p>For programs: <a href='/openapi.json'><code>/openapi.json</code></a></p>{endpoints}</html>"
    )


def _endpoint(openapi: Mapping[str, Any], path: str, method: str, operation: Mapping[str, Any]) -> str:
    rows = [*_parameters(operation), *_body(openapi, operation)]
    table = "".join(
        f"<tr><td><code>{escape(name)}</code><br><small>{escape(kind)}</small></td><td>{escape(text)}</td></tr>"
        for name, kind, text in rows
    )
    return (
        f"<h2><span class=method>{escape(method.upper())}</span><code>{escape(path)}</code></h2>"
        f"<p>{escape(operation.get('description', ''))}</p>" + (f"<table>{table}</table>" if table else "")
    )


def _parameters(operation: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for parameter in operation.get("parameters", ()):
        kind = f"{parameter['in']}, {'required' if parameter.get('required') else 'optional'}"
        yield parameter["name"], kind, parameter.get("description", "")


def _body(openapi: Mapping[str, Any], operation: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    many = "items" in schema or any("items" in choice for choice in schema.get("anyOf", ()))
    schema = schema.get("items", schema)
    schema = next((choice for choice in schema.get("anyOf", ()) if "$ref" in choice), schema)
    if "$ref" in schema:
        schema = openapi["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    where = "body, of each row" if many else "body"
    for name, field in schema.get("properties", {}).items():
        kind = f"{where}, {'required' if name in schema.get('required', ()) else 'optional'}"
        yield name, kind, field.get("description", "")
