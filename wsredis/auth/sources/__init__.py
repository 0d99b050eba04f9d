"""Where identities come from: tokens, the application, Django."""
