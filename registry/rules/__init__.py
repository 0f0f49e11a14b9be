"""What a message is judged by: every rule, its level, its sample, and the count of who broke it."""
