#!/usr/bin/env python3
"""Runs this package as a program wherever it lies: server.py [serve] [MODEL] [vLLM flags]."""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    package = Path(__file__).resolve().parent
    sys.path[0] = str(package.parent)
    runpy.run_module(package.name, run_name="__main__", alter_sys=True)
