"""What is wrong with a message, told to the engineer who made it; judges nothing itself."""
