"""The agent: watches over the plugins of one machine and reports them to a server.

driver -> prober (plugin type, in a process of its own) -> supervisor -> report -> server.

The names below are imported on first use, since a server without the client role needs none of
them. ``__init__.pyi`` has the types.
"""

from plugind.lazy import lazy_attributes

__all__ = ["Agent", "Orphans"]

__getattr__ = lazy_attributes(
    __name__,
    {
        "Agent": "plugind.agent.agent:Agent",
        "Orphans": "plugind.agent.supervisor.orphans:Orphans",
    },
)
