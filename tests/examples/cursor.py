"""An API that gives a cursor to the next page, asked each time only for what has changed since."""

import dlt
from dlt.sources.rest_api import RESTAPIConfig

NAME = "support"
RETRIES = {"status_codes": (429, 500, 502, 503, 504), "backoff_factor": 2, "max_retries": 3}
PAGES_IN_FLIGHT = 1
SCHEDULES = {"default": "*/15 * * * *"}
SWEEPS = {"conversations": "H 3 * * 0"}
"""Sundays everything is read: only so can it be seen which rows are gone."""
DELETED_ROWS = "mark"


def source_config() -> RESTAPIConfig:
    """Describe `GET /v1/conversations?limit=50&cursor=C` -> `{"data": [...], "cursors": {"next": C}}`."""
    return {
        "client": {
            "base_url": dlt.config.get("base_url") or "https://api.example.com/v1/",
            "auth": {"type": "api_key", "name": "X-Api-Key", "api_key": dlt.secrets["api_key"], "location": "header"},
            "paginator": {"type": "cursor", "cursor_path": "cursors.next", "cursor_param": "cursor"},
        },
        "resources": [
            {
                "name": "conversations",
                "primary_key": "id",
                "write_disposition": "merge",
                "endpoint": {
                    "path": "conversations",
                    "data_selector": "data",
                    "params": {"limit": 50},
                    "incremental": {
                        # the field that grows when a row is changed, and the parameter that it goes into
                        "cursor_path": "updated_at",
                        "start_param": "updated_since",
                        "initial_value": "2020-01-01T00:00:00Z",
                    },
                },
            },
        ],
    }
