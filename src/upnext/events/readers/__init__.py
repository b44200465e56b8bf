"""Sources of items, users and events: one file a format, each yielding batches of columns."""
