"""What two notebooks or more use: data, training, figures, explorers, checks."""
