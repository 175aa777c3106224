"""``certify``: best responses, the local type of a point, and moves that improve it."""
