"""Automations: workflows, schedules and credentials from the files of automations/, as resources of skyvern_provider.

files.py reads and checks the files, cron.py knows when a schedule runs, automations.py declares the resources.
"""
