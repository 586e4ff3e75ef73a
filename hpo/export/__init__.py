"""A run for other people's programs: an Optuna storage, CSV, Parquet, TensorBoard."""
