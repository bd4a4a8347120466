"""The HTTP API: every endpoint stands in TABLE, and goes through the flow of ``serving``."""

from plugind.api import agent, nodes, plugins

TABLE = (*plugins.endpoints.table, *nodes.endpoints.table, *agent.endpoints.table)
