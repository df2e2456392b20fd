"""Learned parts at named sites of a frozen torch model."""
