"""The errors of the channel layer while Redis is away. Both are an `OSError` as well."""

from __future__ import annotations

from wsredis.errors import BrokerUnavailable, PublishOutcomeUnknown

__all__ = ["LayerOutcomeUnknown", "LayerUnavailable"]


class LayerUnavailable(BrokerUnavailable, ConnectionError):
    """Redis cannot be reached, or does not keep up. Nothing was sent: the call can be repeated."""


class LayerOutcomeUnknown(PublishOutcomeUnknown, ConnectionError):
    """
    The connection to Redis was lost before the answer.

    The message may have been sent or not, so a repetition may deliver it twice.
    """
