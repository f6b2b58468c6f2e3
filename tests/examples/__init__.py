"""Three whole files to begin with: copy the nearest one to `source_config.py`. Tests load each from the sample API."""
