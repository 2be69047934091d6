"""Where a training writes down its progress step by step: tables, TensorBoard, W&B, MLflow."""
