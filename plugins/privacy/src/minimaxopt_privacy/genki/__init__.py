"""The minimax-filter study of GENKI's faces, repeated."""
