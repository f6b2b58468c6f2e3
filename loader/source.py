"""source_config.py -> the dlt source of one resource, read through our session and from its place."""

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import dlt
import requests
from dlt.common import jsonpath
from dlt.common.configuration.exceptions import ConfigFieldMissingException
from dlt.extract import DltResource, DltSource
from dlt.extract.utils import ensure_table_schema_columns
from dlt.sources.helpers.requests.session import Session as PlainSession
from dlt.sources.helpers.rest_client.paginators import OffsetPaginator, RangePaginator
from dlt.sources.rest_api import RESTAPIConfig, rest_api_resources, rest_api_source
from dlt.sources.rest_api.config_setup import (
    build_resource_dependency_graph,
    create_auth,
    create_paginator,
    setup_incremental_object,
)
from requests.adapters import DEFAULT_POOLSIZE, HTTPAdapter

from loader import mistakes, redaction
from loader.deadline import Deadline
from loader.errors import SettingsError
from loader.history import TABLE
from loader.paging import Reading, guarded, place_is_known
from loader.place import fingerprint
from loader.reader import NonsenseError, Reader
from loader.secret import PLACEHOLDER, Placeholders, Secrets, answering
from loader.session import RetryPolicy, Session
from loader.verdict import Evidence

MAX_NAME = 60
"""Longest name of a source or a resource, in characters."""

_NAME = re.compile(rf"[A-Za-z][A-Za-z0-9_]{{0,{MAX_NAME - 1}}}")


@dataclass(frozen=True, slots=True)
class Description:
    """What source_config.py says, built once per invocation."""

    name: str
    """Of the source."""
    config: RESTAPIConfig
    """dlt's configuration."""
    retries: RetryPolicy
    pages_in_flight: int
    """How many pages of one resource may be asked for at once."""
    schedules: Mapping[str, str]
    """Cron by resource name, "default" for the others."""
    sweeps: Mapping[str, str] = field(default_factory=dict)
    """The same for sweeps; resources that are not named have none."""
    marks: bool = False
    """Whether rows that are gone at the API are marked."""

    def resources(self) -> list[str]:
        """Give the names of the resources, in their order."""
        return list(endpoints(self.config)[0])


def describe(module: ModuleType, secrets: Secrets) -> Description:
    """Build what source_config.py says, with these secrets.

    Raises:
        SettingsError: a secret is missing, or the file is wrong.
    """
    try:
        with answering(secrets):
            config = module.source_config()
        _remember_credentials(config)
        _check_deleted_rows(module.DELETED_ROWS)
        _check_pages_in_flight(module.PAGES_IN_FLIGHT)
        description = Description(
            module.NAME,
            config,
            RetryPolicy.of(module.RETRIES),
            module.PAGES_IN_FLIGHT,
            module.SCHEDULES,
            getattr(module, "SWEEPS", {}),
            marks=module.DELETED_ROWS == "mark",
        )
        _check_names(description)
        # dlt finds what else is wrong when it makes the resources of it; nothing is called
        rest_api_resources(config)
    except SettingsError:
        raise
    except ConfigFieldMissingException as error:
        if isinstance(secrets, Placeholders) and not secrets.missing.issuperset(error.fields):
            secrets.missing.update(error.fields)
            return describe(module, secrets)
        variables = ", ".join(name.upper() for name in error.fields)
        raise SettingsError(
            f"source_config.py asks dlt for {', '.join(error.fields)}, which has no value. "
            f"Set {variables} in the environment, or put it into the secret that API_KEY_SECRET names."
        ) from error
    except Exception as error:
        raise mistakes.in_what_it_says(error, module) from error
    return description


def _remember_credentials(config: Any) -> None:
    """Keep what signs requests out of the log, also where it is not from `dlt.secrets`."""
    client = config.get("client") if isinstance(config, dict) else None
    auth = client.get("auth") if isinstance(client, dict) else None
    values = auth if isinstance(auth, dict) else {name: getattr(auth, name, None) for name in _CREDENTIALS}
    texts = [values.get(name) for name in _CREDENTIALS]
    redaction.remember(text for text in texts if isinstance(text, str) and text != PLACEHOLDER)


_CREDENTIALS = ("api_key", "token", "password", "client_secret", "access_token")
"""Fields of dlt's kinds of authentication that are secret."""


def _check_names(description: Description) -> None:
    if wrong := [name for name in (description.name, *description.resources()) if not _is_name(name)]:
        raise SettingsError(
            f"source_config.py has names that can be none: {', '.join(map(repr, wrong))}. NAME and the names of "
            f"resources are letters, digits and underscores, beginning with a letter, at most {MAX_NAME} of them; "
            f"{TABLE} is taken."
        )


def _is_name(name: object) -> bool:
    return isinstance(name, str) and bool(_NAME.fullmatch(name)) and name != TABLE


def _check_deleted_rows(choice: object) -> None:
    if choice not in ("keep", "mark"):
        raise SettingsError(f'DELETED_ROWS in source_config.py is {choice!r}. Set it to "keep" or to "mark".')


def _check_pages_in_flight(number: object) -> None:
    if type(number) is not int or number < 1:
        raise SettingsError(
            f"PAGES_IN_FLIGHT in source_config.py is {number!r}, but must be a number of pages: 1 (one after the "
            "other) or more."
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """How one resource is read."""

    resource: str
    source_name: str
    """Of the source, its schema and its pipeline."""
    config: RESTAPIConfig
    """As described."""
    fingerprint: str
    """Of what a place depends on."""
    may_pause: bool
    """Whether the pass may be read over several runs."""
    why_whole: str
    """Why it may not, for a person; empty if it may."""
    siblings: int
    """How many resources the source has."""
    retries: RetryPolicy
    """How often a request is tried."""
    key_names: frozenset[str] = frozenset()
    """The fields of its primary key, as source_config.py spells them."""
    moments: frozenset[str] = frozenset()
    """Fields that are timestamps by source_config.py, so that a number in them is meant as one."""
    marks: bool = False
    """Whether rows that are gone at the API are marked, after a pass that has seen everything."""
    is_incremental: bool = False
    """Whether a pass reads from a cursor on, so that only a sweep sees everything."""
    is_part: bool = False
    """Whether its paginator is told to leave out rows at the beginning or at the end, so that nothing sees all."""
    appends: bool = False
    """Whether a row that is read again is loaded again."""
    templates: tuple[str, ...] = ()
    """Paths of dependent resources: what is between braces in them is a row's key."""


def plan(description: Description, resource: str) -> Plan:
    """Find out how a resource can be read."""
    described, parents = endpoints(description.config)
    chosen = described[resource]
    paginators = [paginator_of(description.config, chosen)] if isinstance(chosen, dict) else []
    why = ""
    if isinstance(chosen, DltResource):
        why = "it is a dlt resource of its own, whose place can't be known"
    elif disposition_of(chosen) == "replace":
        why = 'its write_disposition is "replace", which is whole or not at all'
    elif parents[resource]:
        why = "it depends on another resource, which is read anew each time"
    elif not place_is_known(paginators[0]):
        why = f"the place of its paginator, {type(paginators[0]).__name__}, can't be known"
    return Plan(
        resource,
        f"{description.name}_{resource}",
        description.config,
        fingerprint(_relevant(chosen), [vars(paginator) for paginator in paginators if paginator]),
        may_pause=not why,
        why_whole=why,
        siblings=len(described),
        key_names=_key_names(chosen),
        moments=frozenset(_moments(chosen)),
        marks=description.marks and isinstance(chosen, dict) and _is_merged(chosen),
        is_incremental=isinstance(chosen, dict) and _is_incremental(chosen["endpoint"]),
        is_part=any(map(_leaves_out, paginators)),
        appends=isinstance(chosen, dict) and disposition_of(chosen) == "append",
        retries=description.retries,
        templates=tuple(path for path in map(_path, described.values()) if "{" in path),
    )


def build(chosen: Plan, session: Session, reader: Reader) -> DltSource:
    """Make the dlt source that reads the resource from its place on, through our session."""
    config = chosen.config
    resources = _with_parents(config, chosen.resource)
    auth = create_auth(config["client"].get("auth"))
    if isinstance(getattr(auth, "session", None), requests.Session):
        # a token server is waited for like the API itself
        auth.session = session  # type: ignore[union-attr]
    for name, resource in resources.items():
        if isinstance(resource, dict):
            listener = reader if name == chosen.resource else Bystander(reader)
            selector = resource["endpoint"].get("data_selector")
            reading = Reading(listener, resource.get("primary_key"), selector, session.pages_in_flight)
            resource["endpoint"]["paginator"] = guarded(paginator_of(config, resource), reading)
            if selector:
                # dlt would parse it for each page
                resource["endpoint"]["data_selector"] = jsonpath.compile_path(selector)
    source = rest_api_source(
        {
            "client": {**config["client"], "auth": auth, "session": session},
            "resources": list(resources.values()),
        },
        name=chosen.source_name,
    ).with_resources(chosen.resource)
    reader.templates = chosen.templates
    _read_through(reader, source.resources[chosen.resource])
    return source


def _with_parents(config: RESTAPIConfig, name: str) -> dict[str, Any]:
    """Give a resource and those that it depends on, by name; each depends on one other at most."""
    described, parents = endpoints(config)
    lineage = {name: described[name]}
    while found := parents[name]:
        name = found[0].resolve_config["resource"]
        lineage[name] = described[name]
    return lineage


def _read_through(reader: Reader, resource: DltResource) -> None:
    """Put the reader around the generator of pages (that of the furthest parent, where there are parents)."""
    pipe = resource._pipe  # noqa: SLF001 - see docs/dlt.md
    while pipe.parent is not None and not pipe.parent.is_empty:
        pipe = pipe.parent
    read: Any = pipe.gen
    cursor = resource.explicit_args.get("incremental_object")
    if cursor is not None:
        reader.choose = cursor.last_value_func

    def pages() -> Iterator[Any]:
        return reader.pages(read, dlt.current.resource_state(resource.name))

    pipe.replace_gen(pages)  # type: ignore[arg-type]


class Bystander:
    """Listens to the paginator of a parent: it is read from its beginning to its end."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def starting_place(self) -> None:
        """Begin at the beginning."""

    def rows_so_far(self) -> int:
        """Count from the beginning."""
        return 0

    def page_read(self, rows: int, evidence: Evidence, token: object) -> None:
        """Count nothing, but hand on what was seen."""
        del rows, token
        self.reader.parent_read(evidence)

    def ask_again(self, problem: str) -> None:
        """Ask once: what is wrong with a parent ends the run."""
        raise NonsenseError(problem)

    def next_place(self, place: Mapping[str, Any] | None) -> None:
        """Keep nothing."""

    def follow(self, following: Iterator[requests.Request]) -> None:
        """Ask for nothing ahead: between two pages of a parent come those of its children."""

    def is_ahead(self) -> bool:
        """Tell that it was not."""
        return False

    def is_older(self) -> bool:
        """Tell that it is not."""
        return False

    def page_ended(self) -> bool:
        """Read on."""
        return False


def open_session(description: Description, deadline: Deadline) -> Session:
    """Give our session around that of the configuration, or else around one as dlt makes them."""
    number = description.pages_in_flight
    inner = description.config["client"].get("session")
    if inner is None:
        inner = PlainSession(raise_for_status=False)
        # a connection that finds no room in the pool is closed after its request
        for scheme in ("https://", "http://"):
            inner.mount(scheme, HTTPAdapter(pool_maxsize=max(number, DEFAULT_POOLSIZE)))
    return Session(inner, description.retries, deadline, pages_in_flight=number)


def endpoints(config: RESTAPIConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give the resources by name, with what is configured for all of them, and what each depends on."""
    _, resources, parents = build_resource_dependency_graph(config.get("resource_defaults") or {}, config["resources"])
    return resources, parents


def paginator_of(config: RESTAPIConfig, resource: Mapping[str, Any]) -> Any:
    """Give a paginator of dlt's as it is configured for a resource; None where dlt finds it."""
    own = create_paginator(resource["endpoint"].get("paginator"))
    # an instance that outlives the run would remember where it stopped
    return copy.deepcopy(own or create_paginator(config["client"].get("paginator")))


def disposition_of(resource: Mapping[str, Any]) -> str:
    """Give how a resource's rows are written."""
    disposition = resource.get("write_disposition", "append")
    return str(disposition["disposition"] if isinstance(disposition, dict) else disposition)


def _key_names(resource: Any) -> frozenset[str]:
    key = resource.get("primary_key") if isinstance(resource, dict) else None
    return frozenset([key] if isinstance(key, str) else key if isinstance(key, list | tuple) else ())


def _moments(resource: Any) -> Iterator[str]:
    hints = resource if isinstance(resource, dict) else {"columns": resource.columns}
    columns = hints.get("columns")
    if columns and (isinstance(columns, type) or not callable(columns)):
        for name, column in ensure_table_schema_columns(copy.deepcopy(columns)).items():
            if column.get("data_type") == "timestamp":
                yield name
    nested = hints.get("nested_hints")
    for inner in nested.values() if isinstance(nested, dict) else ():
        yield from _moments(inner) if isinstance(inner, dict) else ()


def _is_merged(resource: Mapping[str, Any]) -> bool:
    disposition = resource.get("write_disposition")
    strategy = disposition.get("strategy") if isinstance(disposition, dict) else None
    # another strategy, like scd2, has its own idea of a row that is gone
    return disposition_of(resource) == "merge" and strategy in (None, "delete-insert", "upsert")


def _path(resource: Any) -> str:
    return str(resource["endpoint"].get("path", "")) if isinstance(resource, dict) else ""


def _leaves_out(paginator: Any) -> bool:
    is_late = isinstance(paginator, OffsetPaginator) and paginator.initial_value > 0
    return is_late or (isinstance(paginator, RangePaginator) and paginator.maximum_value is not None)


def _is_incremental(endpoint: Mapping[str, Any]) -> bool:
    return setup_incremental_object(endpoint.get("params") or {}, endpoint.get("incremental"))[0] is not None


def _relevant(resource: Any) -> Any:
    if not isinstance(resource, dict):
        return type(resource).__name__
    endpoint = {name: value for name, value in resource["endpoint"].items() if name != "paginator"}
    return [endpoint, resource.get("primary_key"), resource.get("merge_key")]
