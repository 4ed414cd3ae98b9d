"""Short trainings that leave nothing: what a run would cost, and which learning rate suits it."""
