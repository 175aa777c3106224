"""The computations behind the kinds of task: trainings, evaluations, modern attacks."""
