"""What reads are answered from: rendered resources, and queries that wait for them to change."""

from plugind.catalogue.catalogue import Catalogue, Reading

__all__ = ["Catalogue", "Reading"]
