from plugind.filtering.compiling import compile as compile
from plugind.filtering.kinds import Fields as Fields
from plugind.filtering.kinds import fields_of as fields_of
from plugind.filtering.selecting import Filter as Filter
