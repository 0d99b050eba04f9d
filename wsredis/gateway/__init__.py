"""Between socket and Redis: hub, connections and ports; it knows neither WebSocket nor Redis."""
