"""Whether all is here that the gates need, for those who must not skip one: run it by itself."""

from __future__ import annotations

import importlib.util
import sys

from cnndsl.backends.cuda import nvrtc, simulator

if __name__ == "__main__":
    missing = [reason for reason in (nvrtc.unavailable(), simulator.unavailable()) if reason]
    if importlib.util.find_spec("cudnn") is None:
        missing.append("nvidia-cudnn-frontend is not installed")
    sys.exit("; ".join(missing) or None)
