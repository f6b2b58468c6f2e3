"""Airbyte's low-code CDK: a declarative manifest as the connector builder writes it, read through its entry point."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from airbyte_cdk.entrypoint import AirbyteEntrypoint
from airbyte_cdk.models import ConfiguredAirbyteCatalogSerializer
from airbyte_cdk.sources.declarative.concurrent_declarative_source import ConcurrentDeclarativeSource

from tests.benchmarks.peers.telling import LIMIT, tell, tell_end

SCHEMA = {"type": "object", "additionalProperties": True, "properties": {"id": {"type": "integer"}}}

MANIFEST: dict[str, Any] = {
    "version": "6.0.0",
    "type": "DeclarativeSource",
    "check": {"type": "CheckStream", "stream_names": ["contacts"]},
    "streams": [
        {
            "type": "DeclarativeStream",
            "name": "contacts",
            "primary_key": "id",
            "schema_loader": {"type": "InlineSchemaLoader", "schema": SCHEMA},
            "retriever": {
                "type": "SimpleRetriever",
                "requester": {
                    "type": "HttpRequester",
                    "url_base": "{{ config['base_url'] }}",
                    "path": "/v1/contacts",
                    "http_method": "GET",
                    "authenticator": {
                        "type": "ApiKeyAuthenticator",
                        "api_token": "{{ config['api_key'] }}",
                        "inject_into": {
                            "type": "RequestOption",
                            "inject_into": "request_parameter",
                            "field_name": "api_key",
                        },
                    },
                },
                "record_selector": {
                    "type": "RecordSelector",
                    "extractor": {"type": "DpathExtractor", "field_path": ["data"]},
                },
                "paginator": {
                    "type": "DefaultPaginator",
                    "page_token_option": {
                        "type": "RequestOption",
                        "inject_into": "request_parameter",
                        "field_name": "offset",
                    },
                    "page_size_option": {
                        "type": "RequestOption",
                        "inject_into": "request_parameter",
                        "field_name": "limit",
                    },
                    "pagination_strategy": {"type": "OffsetIncrement", "page_size": LIMIT},
                },
            },
        }
    ],
    "spec": {
        "type": "Spec",
        "connection_specification": {
            "type": "object",
            "properties": {
                "base_url": {"type": "string"},
                "api_key": {"type": "string", "airbyte_secret": True},
            },
        },
    },
}

CATALOG = {
    "streams": [
        {
            "stream": {"name": "contacts", "json_schema": SCHEMA, "supported_sync_modes": ["full_refresh"]},
            "sync_mode": "full_refresh",
            "destination_sync_mode": "overwrite",
        }
    ]
}


def main() -> None:
    config = {"base_url": os.environ["BASE_URL"], "api_key": os.environ["API_KEY"]}
    with tempfile.TemporaryDirectory() as folder:
        files = {"config": config, "catalog": CATALOG}
        for name, content in files.items():
            (Path(folder) / name).write_text(json.dumps(content))
        arguments = [part for name in files for part in (f"--{name}", str(Path(folder) / name))]
        tell_end(lambda: read(config, ["read", *arguments]))


def read(config: dict[str, str], arguments: list[str]) -> None:
    catalog = ConfiguredAirbyteCatalogSerializer.load(CATALOG)
    source = ConcurrentDeclarativeSource(catalog=catalog, config=config, state=None, source_config=MANIFEST)
    for line in AirbyteEntrypoint(source).run(AirbyteEntrypoint.parse_args(arguments)):
        message = json.loads(line)
        if message["type"] == "RECORD":
            tell(message["record"]["data"]["id"])


if __name__ == "__main__":
    main()
