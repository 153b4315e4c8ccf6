"""What deploy/kubernetes must agree with: `python -m tests.kubernetes` builds it and says what does not fit."""
