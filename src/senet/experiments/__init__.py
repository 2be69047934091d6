"""Several trainings and what they prove."""
