"""Between socket and Redis: the hub, connections and ports; it knows neither WebSocket nor Redis."""
