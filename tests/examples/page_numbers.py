"""An API that is asked for page 1, 2, 3, ... and signs in with a bearer token."""

import dlt
from dlt.sources.rest_api import RESTAPIConfig

NAME = "shop"
RETRIES = {"status_codes": (429, 500, 502, 503, 504), "backoff_factor": 2, "max_retries": 3}
PAGES_IN_FLIGHT = 4
SCHEDULES = {"default": "H * * * *"}
SWEEPS: dict[str, str] = {}
DELETED_ROWS = "keep"


def source_config() -> RESTAPIConfig:
    """Describe `GET /v1/contacts?page=1&per_page=50` -> `{"data": [...], "total_pages": 5}`."""
    return {
        "client": {
            "base_url": dlt.config.get("base_url") or "https://api.example.com/v1/",
            # the header `Authorization: Bearer ...`, with what the variable API_KEY or its secret holds
            "auth": {"type": "bearer", "token": dlt.secrets["api_key"]},
            "paginator": {
                "type": "page_number",
                "base_page": 1,
                "page_param": "page",
                # None where the API tells no number of pages: then an empty page is the last one
                "total_path": "total_pages",
            },
        },
        "resource_defaults": {
            "primary_key": "id",
            "write_disposition": "merge",
            "endpoint": {"data_selector": "data", "params": {"per_page": 50}},
        },
        "resources": ["contacts", "companies"],
    }
