"""``ops automations`` and ``ops run``: what the server has of the automations, and runs of them.

Not here: the files (components/automations), and writing to the server (skyvern_provider).
"""
