"""The Optuna study: many fine-tuning runs of one pretrained checkpoint, the best goes on."""
