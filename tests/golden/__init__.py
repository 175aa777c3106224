"""Golden numbers: what moving and renaming code must not change."""
