"""Skyvern's server, in the process that skyvern-start becomes."""

import runpy

import garbage

garbage.look_rarely()
runpy.run_module("skyvern.forge", run_name="__main__", alter_sys=True)
