"""Parts of search: scoring sets of candidates on sets of items, selection, proposals."""
