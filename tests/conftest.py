"""What tests of several packages stand on."""

from tests.databases import citus, partitioned, postgresql, server

__all__ = ["citus", "partitioned", "postgresql", "server"]
