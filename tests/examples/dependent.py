"""An API whose rows have lists of their own behind another path: the parts of each conversation."""

import dlt
from dlt.sources.rest_api import RESTAPIConfig

NAME = "support"
RETRIES = {"status_codes": (429, 500, 502, 503, 504), "backoff_factor": 2, "max_retries": 3}
PAGES_IN_FLIGHT = 1
SCHEDULES = {"conversations": "H * * * *", "parts": "H 2 * * *"}
SWEEPS: dict[str, str] = {}
DELETED_ROWS = "keep"


def source_config() -> RESTAPIConfig:
    """Describe `GET /v1/conversations` and, for each of them, `GET /v1/conversations/ID/parts`."""
    return {
        "client": {
            "base_url": dlt.config.get("base_url") or "https://api.example.com/v1/",
            "auth": {"type": "api_key", "name": "api_key", "api_key": dlt.secrets["api_key"], "location": "query"},
            "paginator": {"type": "offset", "limit": 100},
        },
        "resource_defaults": {
            "primary_key": "id",
            "write_disposition": "merge",
            "endpoint": {"data_selector": "data"},
        },
        "resources": [
            "conversations",
            {
                "name": "parts",
                "endpoint": {"path": "conversations/{resources.conversations.id}/parts"},
                # the column _conversations_id of each part
                "include_from_parent": ["id"],
            },
        ],
    }
