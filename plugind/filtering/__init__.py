"""The language of ``?filter=``: HashiCorp's go-bexpr, with ordering operators and with fields on
the right-hand side.

``fields_of`` describes the rows that a marshmallow schema dumps, once; ``compile`` turns an
expression about such rows into a function. docs/filtering.md describes the language for users.

``compile`` is imported when it is first asked for: the parser and the regular expressions that it
needs take 5 MiB, and many servers are never asked for a filter. ``__init__.pyi`` has the types.
"""

from plugind.filtering.kinds import Fields, fields_of
from plugind.filtering.selecting import Filter
from plugind.lazy import lazy_attributes

__all__ = ["Fields", "Filter", "compile", "fields_of"]

__getattr__ = lazy_attributes(
    __name__,
    {"compile": "plugind.filtering.compiling:compile"},
)
