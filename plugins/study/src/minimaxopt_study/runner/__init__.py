"""How tasks are computed: worker processes, and how a run shows itself."""
