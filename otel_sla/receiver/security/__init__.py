"""Who may send: certificates and bearer tokens, each read again when its file changes."""
