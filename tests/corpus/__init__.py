"""Documents that tests and benchmarks work on: generated ones, hostile ones, and foreign ones found on the machine."""
