"""Resources that are loaded at once, each in a process of its own, but with one import for all of them."""

AT_ONCE = """
import os, sys
import deltalake, gcsfs, pyarrow.dataset
import dlt.common.libs.deltalake, dlt.sources.rest_api
import loader.destination.bigquery
import loader.destination.bucket
from loader import shell
children = []
for resource in sys.argv[1:]:
    child = os.fork()
    if not child:
        code = 1
        try:
            code = shell.main([resource, "--json"])
            sys.stdout.flush()
        finally:
            os._exit(code)
    children.append(child)
sys.exit(sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0 for child in children))
"""
"""A program for `python -c`; its arguments are the resources, and it prints an answer a line."""
