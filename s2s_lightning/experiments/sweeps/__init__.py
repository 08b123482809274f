"""W&B sweep files run on one's own machines, with Optuna as the engine; nothing here needs torch."""
