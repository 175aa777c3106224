"""What a study does: settings, declared in TOML."""
