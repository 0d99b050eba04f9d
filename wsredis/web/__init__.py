"""Plain HTTP on the port of the WebSockets: health, scripts, and the pages of an application."""
