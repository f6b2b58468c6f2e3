"""The API, as data: the one file to edit. Everything in `source_config()` is a dlt `rest_api` configuration.

dlt's reference of it: https://dlthub.com/docs/dlt-ecosystem/verified-sources/rest_api/basic
"""

import dlt
from dlt.sources.rest_api import RESTAPIConfig

NAME = "analytics"
"""Name of the source; the pipeline and the schema of a resource are called NAME_resource."""

RETRIES = {"status_codes": (429, 500, 502, 503, 504), "backoff_factor": 2, "max_retries": 3}
"""Answers with these status codes are asked for again, after 2, 4 and 8 seconds."""

PAGES_IN_FLIGHT = 4
"""How many pages of one resource may be asked for at once; 1 is strictly one after the other."""

SCHEDULES = {"default": "H * * * *"}
"""Cron (UTC) by resource, "default" for the others; H is a minute of its own for each resource."""

SWEEPS: dict[str, str] = {}
"""Cron (UTC) by resource, for those that are read incrementally: then everything is read, beside the cursor."""

DELETED_ROWS = "keep"
"""What becomes of rows that are gone at the API: "keep" leaves them, "mark" sets `_deleted_at`."""


def source_config() -> RESTAPIConfig:
    """Describe the API: where it is, how to sign in, and its resources."""
    return {
        "client": {
            "base_url": dlt.config.get("base_url") or "https://api.example.com",
            "auth": {
                "type": "api_key",
                "name": "api_key",
                "api_key": dlt.secrets["api_key"],
                "location": "query",
            },
        },
        "resource_defaults": {"primary_key": "id", "write_disposition": "merge"},
        "resources": [
            {
                "name": name,
                "endpoint": {
                    "path": f"/v1/{name}",
                    "data_selector": "data",
                    "paginator": {"type": "offset", "limit": 100},
                },
            }
            for name in ("conversations", "contacts", "conversation_parts", "teams", "companies")
        ],
    }
