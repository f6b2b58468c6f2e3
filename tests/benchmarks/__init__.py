"""What is measured, not tested: `make bench` runs it and writes docs/figures.md."""
