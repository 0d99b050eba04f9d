"""Identity sources: the authenticators of tokens, of the application, and of Django."""
