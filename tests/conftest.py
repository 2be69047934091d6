"""What all tests share."""

from __future__ import annotations

import os

# Tests work on tiny arrays, for which a second thread costs more than it brings. Set before torch starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")
