"""Where the embedded models lie: beside this file as released, or in the user's own folder as built."""

from __future__ import annotations
