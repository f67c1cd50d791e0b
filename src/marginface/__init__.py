"""Train, judge and run face recognition models: exact losses, one head, honest intervals."""
