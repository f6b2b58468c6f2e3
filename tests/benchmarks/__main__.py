"""`make bench`: all benchmarks, one after the other."""

from tests.benchmarks import bucket, growth, speed, torture

torture.main()
speed.main(list(speed.LATENCIES_MS))
bucket.main(list(bucket.ROWS))
growth.main(list(growth.ROWS))
