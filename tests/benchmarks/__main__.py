"""`make bench`: all benchmarks, one after the other."""

from tests.benchmarks import torture

torture.main()
