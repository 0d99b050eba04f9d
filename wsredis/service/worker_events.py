"""The bytes of events for workers of Django Channels, as their channel layer reads them."""

from __future__ import annotations

from collections.abc import Mapping

from wsredis.config import ForwardConfig
from wsredis.dialects import Encode
from wsredis.errors import ConfigError

__all__ = ["event_encoder"]


def event_encoder(config: ForwardConfig) -> Encode | None:
    """
    Make the function that encodes events. None if nothing is forwarded.

    Raises:
        ConfigError: A library is missing, or the key cannot be used.
    """
    if not config.channels:
        return None
    try:
        from wsredis.layer.messages import Codec

        codec = Codec(keys=() if config.key is None else (config.key,))
    except ImportError as error:
        raise ConfigError(
            f"forward: {error.name} is missing: pip install 'wsredis[layer]'"
        ) from None

    def encode(event: Mapping[str, object]) -> bytes:
        return codec.encode(event)

    return encode
