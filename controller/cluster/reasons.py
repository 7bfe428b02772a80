"""Why a change ended as it did: stable words, in log lines, results, Events and AssignedPolicies.

A result may also have a DeleteReason, or a word of the API server's that is not listed here, such as `Forbidden`.
docs/operations.md says what to do about each.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """Our own words, and those of the API server's that something here depends on."""

    BLOCKED = "Blocked"
    CONCURRENT_CHANGES = "ConcurrentChanges"
    CONFLICT = "Conflict"
    DATA_NOT_REPLICATED = "DataNotReplicated"
    DENIED = "Denied"
    FIELDS_DROPPED = "FieldsDropped"
    HELD = "Held"
    IN_USE = "InUse"
    KIND_SPELLED = "KindSpelled"
    PRUNE_LIMIT = "PruneLimit"
    SUCCESSOR_NOT_ENFORCED = "SuccessorNotEnforced"
    SUPERSEDED = "Superseded"
    TEMPLATE_NOT_READY = "TemplateNotReady"
    TEMPLATE_REJECTED = "TemplateRejected"
    UNRESOLVED = "Unresolved"

    CLUSTER_UNREACHABLE = "ClusterUnreachable"
    NOT_LEADING = "NotLeading"

    # https://github.com/kubernetes/apimachinery/blob/master/pkg/apis/meta/v1/types.go, StatusReason
    BAD_REQUEST = "BadRequest"
    INTERNAL_ERROR = "InternalError"
    INVALID = "Invalid"
    SERVICE_UNAVAILABLE = "ServiceUnavailable"
    TIMEOUT = "Timeout"
    TOO_MANY_REQUESTS = "TooManyRequests"


# What passes by itself and is tried again soon. Whatever else failed would fail again: it waits for the next resync.
PASSING: Final = frozenset(
    {
        Reason.CLUSTER_UNREACHABLE,
        Reason.CONCURRENT_CHANGES,
        Reason.INTERNAL_ERROR,
        Reason.SERVICE_UNAVAILABLE,
        Reason.SUPERSEDED,
        Reason.TEMPLATE_NOT_READY,
        Reason.TIMEOUT,
        Reason.TOO_MANY_REQUESTS,
    }
)
