"""Access control: policies and tokens from files, and the decisions made from them.

``load_acl`` reads both into one frozen ``Acl``, which finds the ``Caller`` for a secret. An
``Authorizer`` made from the caller's policies decides, and names the rule that decided. This
package does not depend on HTTP.
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
