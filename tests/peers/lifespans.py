"""Our lifespan with the interface of uvicorn's, and with its words in the log."""

from __future__ import annotations

import logging
from typing import Any

from peers.grounds import the_ground

__all__ = ["LifespanOff", "LifespanOn"]

_log = logging.getLogger("uvicorn.error")


class LifespanOn:
    """
    The start and the stop of an application.

    Attributes:
        state: The namespace that the application fills.
        error_occurred: Whether it raised something.
        startup_failed, shutdown_failed: Whether it said so.
        should_exit: Whether the server must not go on.
    """

    def __init__(self, config: Any) -> None:
        self._application = config.app
        self._mode = config.lifespan
        self._lifespan: Any = None
        self.state: dict[str, Any] = {}
        self.error_occurred = self.startup_failed = self.shutdown_failed = False
        self.should_exit = False

    async def startup(self) -> None:
        """Start."""
        from wsredis.errors import ConfigError
        from wsredis.web.asgi.application import single_callable
        from wsredis.web.asgi.lifespan import Lifespan

        ground: Any = the_ground()
        application = single_callable(self._application)

        async def watched(scope: Any, receive: Any, send: Any) -> None:
            try:
                await application(scope, receive, self._watch(send))
            except Exception:
                self.error_occurred = True
                raise

        self._lifespan = Lifespan(ground.reactor, ground.link, watched, self._mode)
        self.state = self._lifespan.state
        try:
            await ground.in_reactor(self._lifespan.startup)
        except ConfigError:
            self.should_exit = True
            _log.error("Application startup failed. Exiting.")

    async def shutdown(self) -> None:
        """Stop."""
        ground: Any = the_ground()
        await ground.in_reactor(lambda: self._lifespan.shutdown(5.0))
        ground.settle()
        if self.shutdown_failed:
            self.should_exit = True
            _log.error("Application shutdown failed. Exiting.")

    def _watch(self, send: Any) -> Any:
        async def watched(event: dict[str, Any]) -> None:
            await send(event)
            kind = event["type"]
            if kind.endswith(".failed"):
                self.startup_failed |= kind == "lifespan.startup.failed"
                self.shutdown_failed |= kind == "lifespan.shutdown.failed"
                _log.error(event.get("message", ""))

        return watched


class LifespanOff(LifespanOn):
    """No start and no stop."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._mode = "off"
