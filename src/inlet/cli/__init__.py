"""The command line: `app` says which commands there are; each is a client of the public API, but for `up`."""
