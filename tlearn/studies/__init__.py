"""Many runs in one program, statistics, reports."""
