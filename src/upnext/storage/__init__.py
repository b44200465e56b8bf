"""Where the log, the catalogue and the models are kept, each behind few methods and chosen by URL."""
