"""The proxy: every request to an endpoint, and to control's API, goes through here.

The path of one request: `server` (bytes of a client) → `head` (parsed and checked) → `routing` (whose is it) → `auth`
→ `gate` (admit, refuse or hold) → `balance` (which replica) → `upstream` (a pooled connection) → `forward` (both ways).
"""
