"""Who may do what: policies and tokens from files, and decisions made from them.

``load_acl`` reads both into one frozen ``Acl``. It tells who a secret belongs to (a ``Caller``),
and an ``Authorizer`` of the caller's policies decides, naming the rule that decided. Nothing here
knows of HTTP.
"""

from __future__ import annotations

from plugind.acl.authorizer import Authorizer, Decision
from plugind.acl.loading import ACL_OFF, ANONYMOUS, Acl, acl_of, load_acl
from plugind.acl.policies import Policy, Rule
from plugind.acl.tokens import Caller, Token

__all__ = [
    "ACL_OFF",
    "ANONYMOUS",
    "Acl",
    "Authorizer",
    "Caller",
    "Decision",
    "Policy",
    "Rule",
    "Token",
    "acl_of",
    "load_acl",
]
