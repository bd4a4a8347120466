"""The agent: watches over the plugins of one machine and reports them to a server.

driver -> prober (plugin type, in a process of its own) -> supervisor -> report -> server.
"""

from plugind.agent.agent import Agent

__all__ = ["Agent"]
