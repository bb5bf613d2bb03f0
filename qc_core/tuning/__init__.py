"""The Optuna study: trials fine-tune one pretrained checkpoint, and the best one is selected."""
