"""State, step, loop, checkpoints, mesh, schedules."""
