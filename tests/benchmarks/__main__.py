"""`make bench`: all benchmarks, one after the other."""

from tests.benchmarks import bucket, torture

torture.main()
bucket.main(list(bucket.ROWS))
