"""Between socket and Redis: hub, connections and the ports; knows neither WebSocket nor Redis."""
