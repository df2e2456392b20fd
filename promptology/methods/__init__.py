"""Methods, one file each, in folders by family; the catalogue finds them, ours and third parties' alike."""

from promptology.methods.registry import Card, catalogue, create, method

__all__ = ["Card", "catalogue", "create", "method"]
