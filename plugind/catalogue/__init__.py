"""The source of answers to reads: rendered resources, and queries that wait for their changes."""

from plugind.catalogue.catalogue import Catalogue, Reading

__all__ = ["Catalogue", "Reading"]
