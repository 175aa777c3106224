"""The computations behind the kinds of task: trainings, evaluations, attacks of today."""
