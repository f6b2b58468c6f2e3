"""A line of source_config.py: written for a person to paste, and pasted here, to try a cure before it is told."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dlt.sources.helpers.rest_client.paginators import BasePaginator, OffsetPaginator, PageNumberPaginator

from loader import redaction
from loader.paging import kind_of
from loader.source import Plan, disposition_of, endpoints, paginator_of

Line = Mapping[str, Any]
"""Fields of a resource or of its endpoint, with their new values."""

OF_RESOURCE = ("primary_key", "write_disposition", "columns", "processing_steps")
"""Fields that stand beside `endpoint`; all others stand in it."""


class Code(str):
    """An expression of Python, which is written as it is."""

    __slots__ = ()


def written(line: Line) -> str:
    """Write the line as it stands in source_config.py."""
    return " ".join(f"{literal(name)}: {literal(value)}," for name, value in line.items())


def literal(value: Any) -> str:
    """Write a value as Python, in double quotes."""
    if isinstance(value, Code):
        return value
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{literal(name)}: {literal(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(literal(item) for item in value) + "]"
    return repr(value)


def pasted(chosen: Plan, line: Line) -> Plan:
    """Give the plan with a line pasted into the resource."""
    resources = endpoints(chosen.config)[0]
    resource = dict(resources[chosen.resource])
    resource["endpoint"] = dict(resource["endpoint"])
    for name, value in line.items():
        (resource if name in OF_RESOURCE else resource["endpoint"])[name] = value
    resources[chosen.resource] = resource
    # what is new for all resources is in each of them already
    config = {**chosen.config, "resource_defaults": {}, "resources": list(resources.values())}
    return replace(chosen, config=config)  # type: ignore[arg-type]


def endpoint(chosen: Plan) -> dict[str, Any]:
    """Give the endpoint as configured; empty where the resource is a dlt resource of its own."""
    found: dict[str, Any] = _resource(chosen).get("endpoint", {})
    return found


def params(chosen: Plan, **more: Any) -> dict[str, Any]:
    """Give the line for the resource's parameters with some more of them; those that can't be written are left out."""
    own = {name: value for name, value in (endpoint(chosen).get("params") or {}).items() if _is_plain(value)}
    return {"params": {**own, **more}}


def columns(chosen: Plan, more: Line) -> dict[str, Any]:
    """Give the line for the resource's columns with some more of them."""
    return {"columns": {**_columns(chosen), **more}}


def _columns(chosen: Plan) -> dict[str, Any]:
    own = _resource(chosen).get("columns")
    return dict(own) if isinstance(own, Mapping) else {}


def paginator(chosen: Plan, **changes: Any) -> dict[str, Any]:
    """Give the line for the resource's own paginator with some settings changed."""
    return {"paginator": {**_settings(chosen), **changes}}


def _settings(chosen: Plan) -> dict[str, Any]:
    """Give the settings of the paginator as a configuration has them."""
    written_as = endpoint(chosen).get("paginator") or chosen.config["client"].get("paginator")
    if isinstance(written_as, str):
        return {"type": written_as}
    if isinstance(written_as, BasePaginator):
        return _of_instance(written_as)
    return dict(written_as or {"type": "auto"})


def _of_instance(inner: BasePaginator) -> dict[str, Any]:
    """Give what differs from dlt's own settings."""
    settings: dict[str, Any] = {"type": kind_of(inner)}
    if isinstance(inner, OffsetPaginator):
        told = {"limit": inner.limit, "offset_param": inner.param_name, "limit_param": inner.limit_param}
    elif isinstance(inner, PageNumberPaginator):
        told = {"base_page": inner.base_index, "page_param": inner.param_name}
    else:
        return settings
    told["total_path"] = str(inner.total_path) if inner.total_path else None
    return settings | {name: value for name, value in told.items() if value != _DEFAULTS.get(name)}


_DEFAULTS = {
    "offset_param": "offset",
    "limit_param": "limit",
    "base_page": 0,
    "page_param": "page",
    "total_path": "total",
}


def inner_paginator(chosen: Plan) -> BasePaginator | None:
    """Give the paginator that is configured; None where dlt finds it."""
    resource = _resource(chosen)
    found: BasePaginator | None = paginator_of(chosen.config, resource) if resource else None
    return found


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float | bool | None) and not (
        isinstance(value, str) and redaction.is_secret(value)
    )


def key_of(chosen: Plan) -> list[str]:
    """Give the fields of the primary key; none where there is none, or a function gives it."""
    key = _resource(chosen).get("primary_key")
    if isinstance(key, str):
        return [key]
    if isinstance(key, list | tuple):
        return list(key)
    return [name for name, column in _columns(chosen).items() if column.get("primary_key")]


def is_keyless(chosen: Plan) -> bool:
    """Tell whether rows are to be merged, and nothing tells them apart."""
    resource = _resource(chosen)
    if disposition_of(resource) != "merge":
        return False
    own = resource.get("columns")
    # a model or a function may tell of a key, too
    is_told = resource.get("primary_key") or resource.get("merge_key") or (own and not isinstance(own, Mapping))
    return not (is_told or key_of(chosen))


def typed_columns(chosen: Plan) -> list[str]:
    """Give the fields that have a data type in the configuration."""
    return [name for name, column in _columns(chosen).items() if column.get("data_type")]


def has_steps(chosen: Plan) -> bool:
    """Tell whether the rows pass through steps of the configuration."""
    return bool(_resource(chosen).get("processing_steps"))


def is_configured(chosen: Plan) -> bool:
    """Tell whether the resource is one of the configuration, and not a dlt resource of its own."""
    return bool(_resource(chosen))


def is_dependent(chosen: Plan) -> bool:
    """Tell whether the resource is a list for each row of another one."""
    return bool(endpoints(chosen.config)[1][chosen.resource])


def _resource(chosen: Plan) -> dict[str, Any]:
    """Give the resource as configured; nothing where it is a dlt resource of its own."""
    resource = endpoints(chosen.config)[0][chosen.resource]
    return resource if isinstance(resource, dict) else {}
