"""The OpenAPI document, made of the table of addresses."""

import re

import orjson

from otel_sla.page.app import Content, PageRoute, View
from otel_sla.page.parameters import Api, Object, Parameter

_VERSION = "3.1.0"
_PATH_PARAMETERS = {
    "agreement": ("An agreement's name.", {"type": "string"}),
    "series_id": ("A series' number, as `/api/v1/live` and `/api/v1/periods` give it.", {"type": "integer"}),
}
_DESCRIPTION = (
    "Judged figures are as of the judge's newest pass, as are gauges, events and reports of that moment. Ratios are"
    " decimal strings, truncated to 8 places; times are in UTC. Answers bear an ETag."
)


_REFUSED = {
    "304": "As it was, by If-None-Match.",
    "400": "A parameter cannot be used.",
    "401": "A token is needed.",
    "404": "Nothing is there.",
    "410": "The counts are kept no longer.",
    "503": "The ledger cannot be read, or was not read yet.",
}


async def openapi(view: View) -> Content:
    """`/api/openapi.json`."""
    routes = [each for each in view.page.routes if each.api is not None]
    document = {
        "openapi": _VERSION,
        "info": {"title": view.settings.title, "version": "1", "description": _DESCRIPTION},
        "servers": [{"url": view.url}],
        "paths": {_plain(each.path): {"get": _operation(each, each.api)} for each in routes if each.api is not None},
        "components": {
            "schemas": {
                "Error": {
                    "type": "object",
                    "required": ["error"],
                    "properties": {"error": {"type": "string", "description": "What is wrong and what is right."}},
                }
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "password": {"type": "http", "scheme": "basic", "description": "The token as the password."},
            },
        },
        "security": [{"bearer": []}, {"password": []}, {}],
    }
    return Content(orjson.dumps(document, option=orjson.OPT_INDENT_2), "application/json", max_age_s=300)


def _operation(route: PageRoute, api: Api) -> Object:
    names = re.findall(r"\{(\w+)", route.path)
    in_path = [
        {"name": name, "in": "path", "required": True, "description": words, "schema": schema}
        for name, (words, schema) in ((name, _PATH_PARAMETERS[name]) for name in names)
    ]
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    is_json = route.path.startswith("/api/")
    return {
        "operationId": route.handler.__name__,
        "summary": api.summary,
        "parameters": [*in_path, *map(_in_query, api.parameters)],
        "responses": {
            "200": {
                "description": api.summary,
                "content": {media_type: {"schema": schema} for media_type, schema in api.contents.items()},
            },
            **{
                status: {"description": words, **({"content": content} if is_json and status != "304" else {})}
                for status, words in _REFUSED.items()
            },
        },
    }


def _in_query(parameter: Parameter[object]) -> Object:
    return {
        "name": parameter.name,
        "in": "query",
        "description": parameter.description,
        "schema": dict(parameter.schema),
    }


def _plain(path: str) -> str:
    """Write a path's parameters without the names of Starlette's converters."""
    return re.sub(r"\{(\w+):\w+\}", r"{\1}", path)
