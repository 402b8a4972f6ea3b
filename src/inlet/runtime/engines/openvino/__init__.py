"""OpenVINO on the CPU, and nothing outside this package imports it: `graph` makes, `model` reads, changes and writes, `engine` runs."""
