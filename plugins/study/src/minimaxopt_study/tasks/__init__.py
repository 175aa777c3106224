"""What each kind of task computes: trainings, evaluations, attacks of today."""
