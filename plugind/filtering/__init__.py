"""The language of ``?filter=``: HashiCorp's go-bexpr, and order and fields on the right besides.

``fields_of`` describes the rows that a marshmallow schema dumps, once; ``compile`` makes a function
of an expression about such rows. What users must know is in docs/filtering.md.
"""

from plugind.filtering.compiling import compile
from plugind.filtering.kinds import Fields, fields_of
from plugind.filtering.matching import Filter

__all__ = ["Fields", "Filter", "compile", "fields_of"]
