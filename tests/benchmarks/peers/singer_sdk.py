"""Meltano's Singer SDK: a tap with one REST stream and an offset paginator, as its guide on pagination shows it."""

import os
from typing import Any

from singer_sdk import RESTStream, Tap
from singer_sdk import typing as th
from singer_sdk.authenticators import APIKeyAuthenticator
from singer_sdk.pagination import OffsetPaginator
from singer_sdk.singerlib import RecordMessage

from tests.benchmarks.peers.telling import LIMIT, tell, tell_end


class Contacts(RESTStream[int]):  # type: ignore[misc] # unknown outside of the peer's environment
    name = "contacts"
    path = "/v1/contacts"
    primary_keys = ("id",)
    records_jsonpath = "$.data[*]"
    schema = th.PropertiesList(th.Property("id", th.IntegerType)).to_dict()

    @property
    def url_base(self) -> str:
        return str(self.config["base_url"])

    @property
    def authenticator(self) -> Any:
        return APIKeyAuthenticator(key="api_key", value=self.config["api_key"], location="params")

    def get_new_paginator(self) -> Any:
        return OffsetPaginator(start_value=0, page_size=LIMIT)

    def get_url_params(self, context: Any, next_page_token: int | None) -> dict[str, Any]:  # noqa: ARG002
        return {"limit": LIMIT, "offset": next_page_token}


class SampleTap(Tap):  # type: ignore[misc] # unknown outside of the peer's environment
    name = "tap-sample"
    config_jsonschema = th.PropertiesList(
        th.Property("base_url", th.StringType, required=True),
        th.Property("api_key", th.StringType, required=True, secret=True),
    ).to_dict()

    def discover_streams(self) -> list[Contacts]:
        return [Contacts(self)]

    def write_message(self, message: Any) -> None:
        if isinstance(message, RecordMessage):
            tell(message.record["id"])


def main() -> None:
    tap = SampleTap(config={"base_url": os.environ["BASE_URL"], "api_key": os.environ["API_KEY"]})
    tell_end(tap.sync_all)


if __name__ == "__main__":
    main()
