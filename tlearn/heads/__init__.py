"""What is new for a task."""
