"""Structs of requests and replies, one module a resource, named as in `admin.routes`."""
