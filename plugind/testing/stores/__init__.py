"""For authors of stores: the contract of ``plugind.store.base`` as test cases for any store, and
wrappers that inject faults into a store.

``CASES`` are callables with a name; each takes a fresh ``Rig``::

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_my_store_keeps_the_contract(case, tmp_path):
        with Rig(MyStore, tmp_path) as rig:
            case(rig)
"""

from plugind.testing.stores import commits, conflicting, following, keeping, sharing, upkeep
from plugind.testing.stores.rig import Case, Rig
from plugind.testing.stores.wrapped import Unsure, Wrapped

CASES: tuple[Case, ...] = (
    *commits.cases,
    *conflicting.cases,
    *following.cases,
    *keeping.cases,
    *sharing.cases,
    *upkeep.cases,
)

__all__ = ["CASES", "Case", "Rig", "Unsure", "Wrapped"]
