"""The language of ``?filter=``: HashiCorp's go-bexpr, with operators of order and fields on the
right.

``fields_of`` describes the rows that a marshmallow schema dumps, once; ``compile`` makes a function
of an expression about such rows. docs/filtering.md describes the language for users.
"""

from plugind.filtering.compiling import compile
from plugind.filtering.kinds import Fields, fields_of
from plugind.filtering.matching import Filter

__all__ = ["Fields", "Filter", "compile", "fields_of"]
