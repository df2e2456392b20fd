"""Networks that virtual tokens, or keys and values, are learned through and that are dropped afterwards."""

from __future__ import annotations

from torch import Tensor, nn

from promptology.errors import UsageError

ENCODERS = ("lstm", "mlp")


def prompt_encoder(kind: str, width: int, hidden: int) -> nn.Module:
    """Return the network h = f(e) of P-tuning (arXiv:2103.10385, section 2.3), (l, width) to (l, width).

    `lstm`: two layers in both directions, then an MLP with one hidden layer; `mlp`: an MLP with two, token by token.
    """
    if kind == "mlp":
        return nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, width)
        )
    if kind == "lstm":
        return Recurrent(width, hidden)
    raise UsageError(f"unknown prompt encoder {kind!r}; there are {', '.join(ENCODERS)}")


class Recurrent(nn.Module):
    """A bidirectional LSTM over the tokens, and an MLP on what it says of each."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, hidden, num_layers=2, bidirectional=True)
        self.mlp = nn.Sequential(nn.Linear(2 * hidden, 2 * hidden), nn.ReLU(), nn.Linear(2 * hidden, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return prompts, shape (l, width)."""
        made: Tensor = self.mlp(self.lstm(tokens)[0])
        return made


class DirectPrefix(nn.Module):
    """Keys and values that are parameters themselves, shape (layers, 2, l, heads, d_head)."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(start)

    def forward(self) -> Tensor:
        """Return keys and values."""
        return self.values


class PrefixNetwork(nn.Module):
    """Keys and values start + MLP(rows) of prefix tuning (arXiv:2101.00190, section 4.3).

    `start`: (layers, 2, l, heads, d_head), fixed; `rows`: (l, k), trained; the MLP has one hidden layer of `mid` with
    Tanh and gives layers x 2 x heads x d_head numbers per row. `silent`: its last layer starts at zero.
    """

    def __init__(self, start: Tensor, rows: Tensor, mid: int, silent: bool) -> None:
        super().__init__()
        self.start = nn.Buffer(start)
        self.rows = nn.Parameter(rows)
        last = nn.Linear(mid, start.numel() // len(rows))
        self.mlp = nn.Sequential(nn.Linear(rows.shape[1], mid), nn.Tanh(), last)
        if silent:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self) -> Tensor:
        """Return keys and values, shape (layers, 2, l, heads, d_head)."""
        layers, _, length, heads, size = self.start.shape
        made: Tensor = self.mlp(self.rows).view(length, layers, 2, heads, size)
        return self.start + made.permute(1, 2, 0, 3, 4)
