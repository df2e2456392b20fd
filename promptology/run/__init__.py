"""Store, budget, ledger, handles and the engine of a run."""
