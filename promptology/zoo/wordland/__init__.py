"""Wordland: text tasks in real English words, from grammars and word lists."""
