"""Programs that print the figures the project publishes."""
