"""Profiles: the settings of a study, declared in TOML."""
