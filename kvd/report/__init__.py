"""The validation report of a tape: what its page tells, and the bounds that good smiles keep."""
