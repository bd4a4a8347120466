"""The contents of a store as an immutable value, which each change replaces."""

from plugind.state.state import State

__all__ = ["State"]
