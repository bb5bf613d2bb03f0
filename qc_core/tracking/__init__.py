"""Metrics of trainings while they run: TensorBoard files, MLflow, Weights & Biases."""
